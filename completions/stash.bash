\
# Completions of stash for bash, made from the table of verbs by `python -m stash_cli.pages`; do not edit.
_stash_table() {
  flags='--help --json --timeout --url --socket --api-key-file --verbose' valued=' --timeout=- --url=- --socket=file --api-key-file=file ' args=''
  case $1 in
    'set') flags="$flags --ttl --json-value --if-absent --if-version --tag" valued="${valued}--ttl=- --if-version=- --tag=- " args='key -' ;;
    'get') flags="$flags --touch --wait --default" valued="${valued}--wait=- --default=- " args='key' ;;
    'update') flags="$flags --extend --if-version --json-value" valued="${valued}--extend=- --if-version=- " args='key -' ;;
    'extend') args='key -' ;;
    'forget') flags="$flags --prefix --tag --yes" valued="${valued}--prefix=key --tag=- " args='key...' ;;
    'ttl') args='key' ;;
    'exists') args='key' ;;
    'list'|'ls') flags="$flags --long --null --tag --limit --cursor" valued="${valued}--tag=- --limit=- --cursor=key " args='key' ;;
    'incr') flags="$flags --ttl" valued="${valued}--ttl=- " args='key -' ;;
    'append') flags="$flags --max-len --ttl --json-value" valued="${valued}--max-len=- --ttl=- " args='key -' ;;
    'batch') flags="$flags --atomic" args='' ;;
    'watch') flags="$flags --count" valued="${valued}--count=- " args='key' ;;
    'prune') flags="$flags --older-than --keep-newest --prefix --tag --dry-run --archive" valued="${valued}--older-than=- --keep-newest=- --prefix=key --tag=- --archive=file " args='' ;;
    'export') flags="$flags --prefix" valued="${valued}--prefix=key " args='file' ;;
    'import') flags="$flags --replace" args='file' ;;
    'serve') flags="$flags --mode --config-path --env-file --data-dir --log-dir --tcp --tls-cert --tls-key --backend --durability --require-api-key --idle-exit --max-connections --max-memory --peer-rate --peer-burst --log-level --log-format --audit-log --audit-required --audit-keep --default-ttl --max-ttl --max-payload-bytes" valued="${valued}--mode=local|dev|production --config-path=file --env-file=file --data-dir=file --log-dir=file --tcp=- --tls-cert=file --tls-key=file --backend=sqlite|memory --durability=normal|full|memory --require-api-key=- --idle-exit=- --max-connections=- --max-memory=- --peer-rate=- --peer-burst=- --log-level=DEBUG|INFO|WARNING|ERROR --log-format=json|console --audit-log=file --audit-required=- --audit-keep=- --default-ttl=- --max-ttl=- --max-payload-bytes=- " args='' ;;
    'status') args='' ;;
    'ping') args='' ;;
    'ready') args='' ;;
    'stop') args='' ;;
    'stats') flags="$flags --prometheus" args='' ;;
    'top') flags="$flags --interval" valued="${valued}--interval=- " args='' ;;
    'doctor') args='' ;;
    'key create') flags="$flags --namespace --tier --scope --ttl" valued="${valued}--namespace=- --tier=- --scope=read|write|admin --ttl=- " args='-' ;;
    'key list') args='' ;;
    'key rotate') args='-' ;;
    'key revoke') args='-' ;;
    'config show') args='' ;;
    'config path') args='' ;;
    'completion') args='bash|zsh|fish' ;;
    '') flags="--version $flags" args='set|get|update|extend|forget|ttl|exists|list|ls|incr|append|batch|watch|prune|export|import|serve|status|ping|ready|stop|stats|top|doctor|key|config|completion' ;;
    'key') args='create|list|rotate|revoke' ;;
    'config') args='show|path' ;;
  esac
}

_stash() {
  local line=${COMP_LINE:0:COMP_POINT} words=() before=() current= i word rest
  local verb= pending= ended= count=0 kind flags valued args
  rest=$line
  for ((i = 0; i <= COMP_CWORD; i++)); do # put together what bash took apart at : and =
    word=${COMP_WORDS[i]}
    if [[ $i -eq 0 || $rest == [[:space:]]* ]]; then
      rest=${rest#"${rest%%[![:space:]]*}"}
      words+=("")
    fi
    ((i == COMP_CWORD)) && word=$rest
    words[${#words[@]} - 1]+=$word
    rest=${rest#"$word"}
  done
  current=${words[${#words[@]} - 1]}
  before=("${words[@]:1:${#words[@]}-2}")
  _stash_table ''
  for word in "${before[@]}"; do
    if [[ -n $pending ]]; then
      pending=
    elif [[ $word == -- && -z $ended ]]; then
      ended=1
    elif [[ $word == -?* && -z $ended ]]; then
      [[ $word != *=* && $valued == *" $word="* ]] && pending=$word
    elif [[ -z $verb || ' key config ' == *" $verb "* ]]; then
      verb="${verb:+$verb }$word"
      _stash_table "$verb"
    else
      count=$((count + 1))
    fi
  done
  if [[ -n $pending ]]; then
    kind=${valued#*" $pending="}
    kind=${kind%% *}
  elif [[ $current == -* && -z $ended ]]; then
    kind=flags
  else
    while [[ $args == *' '* && $count -gt 0 ]]; do
      args=${args#* }
      count=$((count - 1))
    done
    kind=${args%% *}
    [[ $count -eq 0 || $kind == *... ]] || kind=-
    kind=${kind%...}
  fi
  COMPREPLY=()
  case $kind in
    key) _stash_keys "$current" ;;
    file)
      compopt -o filenames 2>/dev/null
      while IFS= read -r word; do COMPREPLY+=("$word"); done < <(compgen -f -- "$current")
      ;;
    flags) while IFS= read -r word; do COMPREPLY+=("$word"); done < <(compgen -W "$flags" -- "$current") ;;
    -) ;;
    *) while IFS= read -r word; do COMPREPLY+=("$word"); done < <(compgen -W "${kind//|/ }" -- "$current") ;;
  esac
}

_stash_keys() {
  local typed=$1 plain quote= key cut
  case $typed in
    \'* | \"*) quote=${typed:0:1} plain=${typed:1} ;;
    *) plain=${typed//\\/} ;;
  esac
  cut=${typed%"${typed##*[:=]}"} # bash replaces only what follows the last of these
  [[ $COMP_WORDBREAKS == *:* && -z $quote ]] || cut=
  while IFS= read -r key; do
    [[ $key == "$plain"* ]] || continue
    if [[ -z $quote ]]; then
      printf -v key %q "$key"
    elif [[ $key == *[\'\"\$\`\\!]* ]]; then
      continue
    fi
    COMPREPLY+=("${key#"$cut"}")
  done < <(STASH_AUTOSTART=0 command stash list --limit 50 --timeout 500ms -- "$plain" 2>/dev/null)
}

complete -F _stash stash
