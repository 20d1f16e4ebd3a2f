"""Completions for bash, zsh and fish, made from the table.

Which verbs and options there are is written into the script; only keys are asked for, of the caller's own namespace,
with a short deadline and without ever starting a daemon.
"""

from __future__ import annotations

from stash_cli.options import GLOBAL_OPTIONS, Argument, Option, Verb
from stash_cli.verbs import GROUPS, VERBS

MADE = "made from the table of verbs by `python -m stash_cli.pages`; do not edit"
KEYS_COMMAND = "STASH_AUTOSTART=0 command stash list --limit 50 --timeout 500ms"
FISH_KEYS_COMMAND = "env STASH_AUTOSTART=0 stash list --limit 50 --timeout 500ms"

# What the shells are told of a value: key, file, choices as a|b|c, or - for what nobody can guess.


def _kind(row: Argument | Option) -> str:
    if row.choices:
        return "|".join(row.choices)
    if row.kind in ("key", "prefix"):
        return "key"
    return "file" if row.kind in ("file", "vector") else "-"


def _table() -> str:
    """A function that sets ``flags``, ``valued`` and ``args`` for a verb; bash and zsh read it alike."""
    rows = [_case("|".join(f"'{name}'" for name in (verb.name, verb.alias) if name), verb) for verb in VERBS]
    flags, valued = _flags(GLOBAL_OPTIONS)
    return "\n".join(
        [
            "_stash_table() {",
            f"  flags='--help {flags}' valued=' {valued} ' args=''",
            "  case $1 in",
            *rows,
            f"    '') flags=\"--version $flags\" args='{_first_words()}' ;;",
            *(f"    '{group}') args='{_second_words(group)}' ;;" for group in GROUPS),
            "  esac",
            "}",
        ]
    )


def _case(pattern: str, verb: Verb) -> str:
    flags, valued = _flags(verb.options)
    args = " ".join(
        _kind(argument) + ("..." if argument.many or argument.joined else "") for argument in verb.arguments
    )
    said = [f'flags="$flags {flags}"'] if flags else []
    if valued:
        said.append(f'valued="${{valued}}{valued} "')
    said.append(f"args='{args}'")
    return f"    {pattern}) {' '.join(said)} ;;"


def _flags(options: tuple[Option, ...]) -> tuple[str, str]:
    flags = " ".join(option.flags[-1] for option in options)
    return flags, " ".join(
        f"{flag}={_kind(option)}" for option in options if option.kind != "flag" for flag in option.flags
    )


def _first_words() -> str:
    return "|".join(dict.fromkeys(word for verb in VERBS for word in (verb.name.split()[0], verb.alias) if word))


def _second_words(group: str) -> str:
    return "|".join(verb.name.split()[1] for verb in VERBS if verb.name.startswith(group + " "))


WALK = """\
  for word in "${before[@]}"; do
    if [[ -n $pending ]]; then
      pending=
    elif [[ $word == -- && -z $ended ]]; then
      ended=1
    elif [[ $word == -?* && -z $ended ]]; then
      [[ $word != *=* && $valued == *" $word="* ]] && pending=$word
    elif [[ -z $verb || ' GROUPS ' == *" $verb "* ]]; then
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
""".replace("GROUPS", " ".join(GROUPS))  # finds the verb and what is to be completed; bash and zsh read it alike

BASH = r"""# Completions of stash for bash, @MADE@.
@TABLE@

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
@WALK@  COMPREPLY=()
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
  done < <(@KEYS@ -- "$plain" 2>/dev/null)
}

complete -F _stash stash
"""

ZSH = r"""#compdef stash
# Completions of stash for zsh, @MADE@.
@TABLE@

_stash_verbs() {
  local -a verbs
  verbs=(
@VERBS@
  )
  _describe -t verbs verb verbs
}

_stash() {
  local -a before keys
  local current=${(Q)words[CURRENT]} word
  local verb= pending= ended= count=0 kind flags valued args
  before=("${(@Q)words[2,CURRENT-1]}")
  _stash_table ''
@WALK@  case $kind in
    key)
      keys=("${(@f)$(@KEYS@ -- "$current" 2>/dev/null)}")
      compadd -- "${(@)keys:#}"
      ;;
    file) _files ;;
    flags) compadd -- ${=flags} ;;
    -) ;;
    *) if [[ -z $verb ]]; then _stash_verbs; else compadd -- ${(s:|:)kind}; fi ;;
  esac
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
  _stash "$@"
else
  compdef _stash stash
fi
"""


def bash() -> str:
    """The script for bash, 3.2 or newer."""
    return _filled(BASH)


def zsh() -> str:
    """The script for zsh."""
    lines = (f"    {_quoted(verb.name.split()[0])}':'{_quoted(_about(verb))}" for verb in _first_verbs())
    return _filled(ZSH).replace("@VERBS@", "\n".join(lines))


def _filled(script: str) -> str:
    parts = {"@MADE@": MADE, "@TABLE@": _table(), "@WALK@": WALK, "@KEYS@": KEYS_COMMAND}
    for token, text in parts.items():
        script = script.replace(token, text)
    return script


def fish() -> str:
    """The script for fish."""
    lines = [
        f"# Completions of stash for fish, {MADE}.",
        "function __stash_keys",
        f"  {FISH_KEYS_COMMAND} -- (commandline -ct) 2>/dev/null",
        "end",
        "complete -c stash -f",
    ]
    lines += [_fish_option(option, "") for option in GLOBAL_OPTIONS]
    for verb in _first_verbs():
        name = verb.name.split()[0]
        lines.append(f"complete -c stash -n __fish_use_subcommand -a {name} -d {_quoted(_about(verb))}")
    for verb in VERBS:
        words = verb.name.split()
        seen = f"__fish_seen_subcommand_from {words[0]}" + (f" {verb.alias}" if verb.alias else "")
        condition = seen
        if len(words) == 2:
            others = " ".join(_second_words(words[0]).split("|"))
            start = f"{seen}; and not __fish_seen_subcommand_from {others}"
            lines.append(f"complete -c stash -n {_quoted(start)} -a {words[1]} -d {_quoted(verb.about)}")
            condition = f"{seen}; and __fish_seen_subcommand_from {words[1]}"
        lines += [_fish_option(option, condition) for option in verb.options]
        lines += [line for argument in verb.arguments[:1] if (line := _fish_argument(argument, condition))]
    return "\n".join(lines) + "\n"


def _fish_option(option: Option, condition: str) -> str:
    words = ["complete -c stash", *([f"-n {_quoted(condition)}"] if condition else [])]
    words += [f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in option.flags]
    if option.kind != "flag":
        words.append({"file": "-r -F", "key": "-x -a '(__stash_keys)'"}.get(_kind(option), "-x"))
        if option.choices:
            words.append(f"-a {_quoted(' '.join(option.choices))}")
    return " ".join([*words, f"-d {_quoted(option.help)}"])


def _fish_argument(argument: Argument, condition: str) -> str:
    kind = _kind(argument)
    if kind == "-":
        return ""
    what = (
        "-F"
        if kind == "file"
        else "-a '(__stash_keys)'"
        if kind == "key"
        else f"-a {_quoted(' '.join(argument.choices))}"
    )
    return f"complete -c stash -n {_quoted(condition)} {what}"


def _first_verbs() -> list[Verb]:
    """A verb for each first word."""
    return list({verb.name.split()[0]: verb for verb in reversed(VERBS)}.values())[::-1]


def _about(verb: Verb) -> str:
    return GROUPS.get(verb.name.split()[0], verb.about)


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "'\\''") + "'"


SHELLS = {"bash": bash, "zsh": zsh, "fish": fish}
FILES = {"bash": "stash.bash", "zsh": "_stash", "fish": "stash.fish"}
