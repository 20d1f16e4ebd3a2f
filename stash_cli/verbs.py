"""The table of verbs. What a row means is in `options`."""

from __future__ import annotations

from stash_cli.hot_verbs import HOT_VERBS, KEY, ONLY_PREFIX, PREFIX, TAG
from stash_cli.memory_verbs import FILTERS, MEMORY_VERBS
from stash_cli.options import Argument, Option, Verb
from stash_cli.serve_options import SERVE_OPTIONS
from stash_cli.view_verbs import VIEW_GROUPS, VIEW_VERBS

API_KEY_NAME = Argument("name", "text", "The API key's name.", "name", required=True)

MCP_HOSTS = (
    "claude-code", "claude-desktop", "codex", "cursor", "gemini", "lm-studio", "opencode", "vscode", "windsurf", "zed",
)  # fmt: skip

VALUE_VERBS = (
    Verb(
        "incr",
        "Add to a counter; print the new number.",
        "stash incr visits\nstash incr credit -- -5",
        run="commands.entries:incr",
        op="incr",
        arguments=(KEY, Argument("by", "integer", "How much; 1 unless given.", "by", metavar="N")),
        options=(Option("--ttl", "duration", "How long a new counter lives.", "ttl_ms"),),
        more="A counter that is not there starts at 0.",
    ),
    Verb(
        "append",
        "Add an item to a list; print the list's length.",
        "stash append log 'step 3 done' --max-len 100",
        run="commands.entries:append",
        op="append",
        arguments=(KEY, Argument("value", "text", "The item; left out or -: from stdin.")),
        options=(
            Option("--max-len", "number", "Keep at most so many items; the oldest go.", "max_len"),
            Option("--ttl", "duration", "How long a new list lives.", "ttl_ms"),
            Option("--json-value", "flag", "The item is JSON, not text."),
        ),
        more="The list is a JSON array; one that is not there starts empty.",
    ),
    Verb(
        "pop",
        "Take the last item off a list and print it.",
        "stash append jobs 'build 42'\njob=$(stash pop jobs --first)",
        run="commands.entries:pop",
        op="pop",
        arguments=(KEY,),
        options=(Option("--first", "flag", "The first, which is the oldest, instead.", "first"),),
        more="Nobody else gets that item. A text is printed as it was appended, any other item as JSON; a newline is "
        "added on a terminal only. Without such a list, or an item in it, the exit status is 3.",
    ),
    Verb(
        "tail",
        "Print the last items of a list, the oldest of them first.",
        "stash tail log -n 20",
        run="commands.entries:tail",
        op="tail",
        arguments=(KEY,),
        options=(
            Option("-n --count", "number", "At most so many; 1 unless given.", "count"),
            Option("--touch", "flag", "Give the entry its own TTL again.", "touch"),
        ),
        more="They are printed as `stash get` prints the whole list: a JSON array, and a newline on a terminal only. "
        "Without such a list the exit status is 3.",
    ),
    Verb(
        "batch",
        "Carry out commands from stdin, one JSON object a line; print one reply a line.",
        'printf \'%s\\n\' \'{"op": "set", "key": "k", "value": "v", "ttl": 60}\' | stash batch',
        run="commands.batch:batch",
        options=(
            Option("--atomic", "flag", "All or none: one transaction, at most 1,000 commands, each on one entry."),
        ),
        more="Ops: set, get, update, extend, forget, ttl, exists, list, incr, append, pop, tail, search. A string is "
        'kept as text, any other is JSON; bytes are value_base64. Replies are {"ok": true, …} or {"ok": false, '
        '"error": {…}}, in order. Exit 0 if all were ok, else as the first that was not.',
    ),
    Verb(
        "watch",
        "Print a line for every change and expiry, until stopped.",
        "stash watch build/",
        run="commands.entries:watch",
        op="watch",
        arguments=(PREFIX,),
        options=(Option("--count", "number", "Stop after so many."),),
        more="A line is the event (set, update, extend, forget, expire), a space and the key; with --json an object. "
        "With --timeout it ends after so long, and exits with 124.",
    ),
    Verb(
        "prune",
        "Delete what is expired, and what the policies choose; silent, for cron.",
        "stash prune --prefix log/ --older-than 7d --archive old.jsonl",
        run="commands.prune:prune",
        op="prune",
        options=(
            Option("--older-than", "duration", "Entries last written longer ago.", "older_than_ms"),
            Option("--keep-newest", "count", "All but so many, by their last write.", "keep_newest"),
            Option("--keep-highest-score", "count", "All but so many that have a score.", "keep_highest_score"),
            ONLY_PREFIX,
            TAG,
            *(row for row in FILTERS if row.label not in ("--tag", "--segments")),
            Option("--dry-run", "flag", "Delete nothing; print the keys of live entries it would delete.", "dry_run"),
            Option("--archive", "file", "Add what the policies delete to this file first, as JSON lines."),
            Option("-y --yes", "flag", "Do not ask. Only a terminal is ever asked, and only where 0 are to be kept."),
        ),
        more="With --group, --kind or another filter of memories, older and newer go by when they happened. "
        "It also carries out the rules of retention, as `stash retention run` does, unless something narrows it "
        "(a prefix, a tag, a filter; a policy must be given then) or --archive is given. Off a terminal, to keep 0 of "
        "all there are is refused without --yes, --dry-run or --archive.",
    ),
    Verb(
        "export",
        "Write all entries as JSON lines, with the time each has left.",
        "stash export backup.jsonl",
        run="commands.transfer:export",
        op="export",
        arguments=(Argument("file", "file", "Where to; left out or -: stdout."),),
        options=(ONLY_PREFIX,),
    ),
    Verb(
        "import",
        "Read entries that export wrote.",
        "stash import backup.jsonl",
        run="commands.transfer:import_",
        op="import",
        arguments=(Argument("file", "file", "Where from; -: stdin.", required=True),),
        options=(Option("--replace", "flag", "Overwrite entries that are there; else they stay.", "replace"),),
        more="Every entry gets the time it had left when it was exported, within the tier's longest TTL.",
    ),
    Verb(
        "mcp",
        "Be an MCP server on stdin and stdout; with install, say how a program gets to use it.",
        "stash mcp install claude-code --write",
        run="commands.mcp:mcp",
        arguments=(
            Argument("action", "choice", "Left out: serve.", metavar="install", choices=("install",)),
            Argument("host", "choice", f"One of {', '.join(MCP_HOSTS)}.", choices=MCP_HOSTS),
        ),
        options=(Option("--write", "flag", "Put it into the host's own configuration; else it is only printed."),),
        more="Its tools are set, get, update, extend, forget, list, search and context, in the namespace of the API "
        "key. Serving needs the official SDK: pip install 'stash-memory[mcp]'. install passes on --url, --socket, "
        "--api-key-file and STASH_HOME, and never writes an API key.",
    ),
)

DAEMON_VERBS = (
    Verb(
        "serve",
        "Run the daemon in the foreground.",
        "stash serve --tcp 127.0.0.1:7437",
        run="service:serve",
        options=SERVE_OPTIONS,
        more="Flags beat STASH_… variables, which beat the configuration file.",
    ),
    Verb("status", "Print the health of the daemon.", "stash status", run="commands.daemon:status", op="status"),
    Verb("ping", "Exit with 0 if the daemon answers.", "stash ping", run="commands.daemon:ping", op="ping"),
    Verb(
        "ready",
        "Exit with 0 once a request would succeed.",
        "stash serve & stash ready --timeout 5s",
        run="commands.daemon:ready",
        op="ready",
        more="It waits for a daemon, up to --timeout, and starts none.",
    ),
    Verb(
        "stop",
        "Stop the daemon, and wait until it is gone.",
        "stash stop",
        run="commands.daemon:stop",
        op="stop",
        more="If none runs, that is said, and the exit status is 0.",
    ),
    Verb(
        "stats",
        "Print figures since the daemon's start, usage over time, and what memories there are.",
        "stash stats",
        run="commands.figures:stats",
        op="stats",
        options=(Option("--prometheus", "flag", "In Prometheus' text format.", "prometheus"),),
        more="Below them, requests by hour and by day, what changed against the time before, and what memories there "
        "are: kinds, roles, embeddings, and the conversations with the most messages.",
    ),
    Verb(
        "top",
        "Show the figures as they change, until q or Ctrl-C.",
        "stash top",
        run="commands.figures:top",
        options=(Option("--interval", "duration", "Between two looks; 1s unless given."),),
        more="Off a terminal it looks once.",
    ),
    Verb(
        "doctor",
        "Look into paths, modes, the daemon, the database and the configuration; say what to do.",
        "stash doctor",
        run="commands.doctor:doctor",
        more="Every line says ok, warn or fail. The embedder is the running daemon's; without one, that of the "
        "configuration. The exit status is 0, or 9 if something failed.",
    ),
)

ADMIN_VERBS = (
    Verb(
        "key create",
        "Make an API key and print it; it is shown this once.",
        "stash key create ci --tier pro --scope read --ttl 30d",
        run="commands.keys:create",
        op="key_create",
        arguments=(API_KEY_NAME,),
        options=(
            Option("--namespace", "text", "The namespace it opens; its name unless given.", "namespace", metavar="NS"),
            Option("--tier", "text", "The tier it lives under; free unless given.", "tier", metavar="TIER"),
            Option(
                "--scope",
                "choice",
                "What it may do; may be given again; read and write unless given.",
                "scopes",
                many=True,
                choices=("read", "write", "admin"),
            ),
            Option("--ttl", "duration", "How long it is valid; for good unless given.", "ttl_ms"),
        ),
    ),
    Verb(
        "key list",
        "Print all API keys, without their secrets.",
        "stash key list",
        run="commands.keys:list_",
        op="key_list",
    ),
    Verb(
        "key rotate",
        "Give an API key a new secret and print it; the old one ends at once.",
        "stash key rotate ci",
        run="commands.keys:rotate",
        op="key_rotate",
        arguments=(API_KEY_NAME,),
    ),
    Verb(
        "key revoke",
        "End an API key at once, on open connections too.",
        "stash key revoke ci",
        run="commands.keys:revoke",
        op="key_revoke",
        arguments=(API_KEY_NAME,),
    ),
    Verb(
        "config show",
        "Print every setting, its value and where that came from.",
        "stash config show",
        run="commands.config:show",
    ),
    Verb(
        "config path",
        "Print where the configuration file is looked for.",
        "stash config path",
        run="commands.config:path",
    ),
    Verb(
        "completion",
        "Print the completions for a shell.",
        'eval "$(stash completion bash)"',
        run="commands.config:completion",
        arguments=(Argument("shell", "choice", "bash, zsh or fish.", required=True, choices=("bash", "zsh", "fish")),),
    ),
)

VERBS = (*HOT_VERBS, *MEMORY_VERBS, *VIEW_VERBS, *VALUE_VERBS, *DAEMON_VERBS, *ADMIN_VERBS)
"""All verbs, in the order of the help."""

GROUPS = {
    **VIEW_GROUPS,
    "retention": "Archive, delete and extend old memories.",
    "embed": "See what the embedder does, and have it do it again.",
    "key": "Make, list, rotate and revoke API keys.",
    "config": "Show the settings in force.",
}
"""The first words of verbs that have two."""
