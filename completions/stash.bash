# Completions of stash for bash, made from the table of verbs by `python -m stash_cli.pages`; do not edit.
_stash_table() {
  flags='--help --json --timeout --url --socket --api-key-file --verbose' valued=' --timeout=- --url=- --socket=file --api-key-file=file ' args=''
  case $1 in
    'set') flags="$flags --ttl --json-value --if-absent --if-version --tag --text --embed --no-embed --embedding --model --group --role --score --importance --meta --at --wait-embedding --kind" valued="${valued}--ttl=- --if-version=- --tag=- --text=- --embedding=file --model=- --group=- --role=system|user|assistant|tool --score=- --importance=- --meta=- --at=- --kind=memory|message|episode " args='key -' ;;
    'get') flags="$flags --touch --wait --default" valued="${valued}--wait=- --default=- " args='key' ;;
    'update') flags="$flags --extend --if-version --json-value --text --embed --no-embed --embedding --model --group --role --score --importance --meta --at --wait-embedding" valued="${valued}--extend=- --if-version=- --text=- --embedding=file --model=- --group=- --role=system|user|assistant|tool --score=- --importance=- --meta=- --at=- " args='key -' ;;
    'extend') args='key -' ;;
    'forget') flags="$flags --prefix --tag --yes" valued="${valued}--prefix=key --tag=- " args='key...' ;;
    'ttl') args='key' ;;
    'exists') args='key' ;;
    'list'|'ls') flags="$flags --long --null --tag --limit --reverse --cursor" valued="${valued}--tag=- --limit=- --cursor=key " args='key' ;;
    'search') flags="$flags --limit --mode --like --embedding --model --prefix --tag --all-tags --group --group-prefix --segments --kind --role --after --before --min-score --where --archived --offset --order --importance-weight --half-life --budget --explain" valued="${valued}-k=- --limit=- --mode=auto|vector|keyword|hybrid --like=key --embedding=file --model=- --prefix=key --tag=- --all-tags=- --group=- --group-prefix=- --kind=memory|message|episode --role=system|user|assistant|tool --after=- --before=- --min-score=- --where=- --offset=- --order=rank|newest|oldest|score|importance --importance-weight=- --half-life=- --budget=- " args='-...' ;;
    'context') flags="$flags --budget --query --mode --like --embedding --model --tag --all-tags --group --group-prefix --segments --kind --role --after --before --min-score --where --archived --limit --offset --order --importance-weight --half-life" valued="${valued}--budget=- --query=- --mode=auto|vector|keyword|hybrid --like=key --embedding=file --model=- --tag=- --all-tags=- --group=- --group-prefix=- --kind=memory|message|episode --role=system|user|assistant|tool --after=- --before=- --min-score=- --where=- -k=- --limit=- --offset=- --order=rank|newest|oldest|score|importance --importance-weight=- --half-life=- " args='key' ;;
    'retention run') flags="$flags --dry-run" args='' ;;
    'retention show') args='' ;;
    'embed status') args='' ;;
    'embed retry') args='' ;;
    'embed rebuild') flags="$flags --no-wait" args='' ;;
    'episode add') flags="$flags --content --embedding --model --reward --meta --at --tag --key --ttl --json-value" valued="${valued}--content=- --embedding=file --model=- --reward=- --meta=- --at=- --tag=- --key=key --ttl=- " args='- -' ;;
    'episode query') flags="$flags --limit --embedding --model --task --task-prefix --tag --all-tags --min-reward --after --before --where --offset --order --importance-weight --archived" valued="${valued}-k=- --limit=- --embedding=file --model=- --task=- --task-prefix=- --tag=- --all-tags=- --min-reward=- --after=- --before=- --where=- --offset=- --order=rank|newest|oldest|score|importance --importance-weight=- " args='-...' ;;
    'episode prune') flags="$flags --older-than --keep-newest --keep-highest-reward --task --task-prefix --tag --all-tags --min-reward --after --before --where --dry-run --yes" valued="${valued}--older-than=- --keep-newest=- --keep-highest-reward=- --task=- --task-prefix=- --tag=- --all-tags=- --min-reward=- --after=- --before=- --where=- " args='' ;;
    'episode save') flags="$flags --task-prefix" valued="${valued}--task-prefix=- " args='file' ;;
    'episode load') flags="$flags --replace" args='file' ;;
    'message add') flags="$flags --meta --importance --at --tag --key --ttl --no-embed" valued="${valued}--meta=- --importance=- --at=- --tag=- --key=key --ttl=- " args='- system|user|assistant|tool -' ;;
    'message get') args='key...' ;;
    'message update') flags="$flags --role --meta --importance --at --extend --if-version" valued="${valued}--role=system|user|assistant|tool --meta=- --importance=- --at=- --extend=- --if-version=- " args='key -' ;;
    'message forget') args='key...' ;;
    'message list') flags="$flags --role --limit --offset --newest --archived" valued="${valued}--role=system|user|assistant|tool --limit=- --offset=- " args='-' ;;
    'conversation list') flags="$flags --limit --offset --archived" valued="${valued}--limit=- --offset=- " args='-' ;;
    'conversation show') flags="$flags --limit --offset --newest --archived" valued="${valued}--limit=- --offset=- " args='-' ;;
    'conversation update') flags="$flags --title --meta" valued="${valued}--title=- --meta=- " args='-' ;;
    'conversation forget') flags="$flags --yes" args='-' ;;
    'conversation stats') args='-' ;;
    'incr') flags="$flags --ttl" valued="${valued}--ttl=- " args='key -' ;;
    'append') flags="$flags --max-len --ttl --json-value" valued="${valued}--max-len=- --ttl=- " args='key -' ;;
    'pop') flags="$flags --first" args='key' ;;
    'tail') flags="$flags --count --touch" valued="${valued}-n=- --count=- " args='key' ;;
    'batch') flags="$flags --atomic" args='' ;;
    'watch') flags="$flags --count" valued="${valued}--count=- " args='key' ;;
    'prune') flags="$flags --older-than --keep-newest --keep-highest-score --prefix --tag --all-tags --group --group-prefix --kind --role --after --before --min-score --where --archived --dry-run --archive --yes" valued="${valued}--older-than=- --keep-newest=- --keep-highest-score=- --prefix=key --tag=- --all-tags=- --group=- --group-prefix=- --kind=memory|message|episode --role=system|user|assistant|tool --after=- --before=- --min-score=- --where=- --archive=file " args='' ;;
    'export') flags="$flags --prefix" valued="${valued}--prefix=key " args='file' ;;
    'import') flags="$flags --replace" args='file' ;;
    'mcp') flags="$flags --write" args='install claude-code|claude-desktop|codex|cursor|gemini|lm-studio|opencode|vscode|windsurf|zed' ;;
    'serve') flags="$flags --mode --config-path --env-file --data-dir --log-dir --tcp --tls-cert --tls-key --backend --durability --require-api-key --idle-exit --max-connections --max-memory --peer-rate --peer-burst --memory-ttl --search-memory --importance-percent --retention-every --retention-archive-after --retention-archive-below --retention-delete-after --half-life --log-level --log-format --audit-log --audit-required --audit-keep --embedder --embedder-model --embedder-url --embedder-dimensions --embedder-batch --embedder-timeout --embedder-query-timeout --embedder-keep-alive --default-ttl --max-ttl --max-payload-bytes" valued="${valued}--mode=local|dev|production --config-path=file --env-file=file --data-dir=file --log-dir=file --tcp=- --tls-cert=file --tls-key=file --backend=sqlite|memory --durability=normal|full|memory --require-api-key=- --idle-exit=- --max-connections=- --max-memory=- --peer-rate=- --peer-burst=- --memory-ttl=- --search-memory=- --importance-percent=- --retention-every=- --retention-archive-after=- --retention-archive-below=- --retention-delete-after=- --half-life=- --log-level=DEBUG|INFO|WARNING|ERROR --log-format=json|console --audit-log=file --audit-required=- --audit-keep=- --embedder=none|ollama|openai|local|hash --embedder-model=- --embedder-url=- --embedder-dimensions=- --embedder-batch=- --embedder-timeout=- --embedder-query-timeout=- --embedder-keep-alive=- --default-ttl=- --max-ttl=- --max-payload-bytes=- " args='' ;;
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
    '') flags="--version $flags" args='set|get|update|extend|forget|ttl|exists|list|ls|search|context|retention|embed|episode|message|conversation|incr|append|pop|tail|batch|watch|prune|export|import|mcp|serve|status|ping|ready|stop|stats|top|doctor|key|config|completion' ;;
    'episode') args='add|query|prune|save|load' ;;
    'message') args='add|get|update|forget|list' ;;
    'conversation') args='list|show|update|forget|stats' ;;
    'retention') args='run|show' ;;
    'embed') args='status|retry|rebuild' ;;
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
    elif [[ -z $verb || ' episode message conversation retention embed key config ' == *" $verb "* ]]; then
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
