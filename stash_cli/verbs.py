"""The table of verbs. What a row means is in `options`."""

from __future__ import annotations

from stash_cli.options import Argument, Option, Verb

KEY = Argument("key", "key", "The entry's key.", "key", required=True)
VALUE = Argument("value", "text", "The value; left out or -: from stdin, byte for byte.")
PREFIX = Argument("prefix", "prefix", "Only keys that start with this.", "prefix")
API_KEY_NAME = Argument("name", "text", "The API key's name.", "name", required=True)

TTL = Option("--ttl", "duration", "How long it lives; else the tier's default.", "ttl_ms")
JSON_VALUE = Option("--json-value", "flag", "The value is JSON; it is checked.")
IF_VERSION = Option("--if-version", "number", "Only if the entry has this version; else exit 6.", "if_version")
TAG = Option("--tag", "tag", "Only entries with this tag.", "tag")
ONLY_PREFIX = Option("--prefix", "prefix", "Only keys that start with this.", "prefix")

HOT_VERBS = (
    Verb(
        "set",
        "Store a value under a key and print the key.",
        "stash set build/42 passed --ttl 2h\ncurl -s https://example.org | stash set page --ttl 30m\n"
        "key=$(echo 'no key yet' | stash set)",
        run="hot:set_",
        op="set",
        hot=True,
        arguments=(
            Argument("key", "key", "The entry's key; left out or - alone: one is made.", "key"),
            VALUE,
        ),
        options=(
            TTL,
            JSON_VALUE,
            Option("--if-absent", "flag", "Only if no entry has the key; else exit 6.", "if_absent"),
            IF_VERSION,
            Option("--tag", "tag", "A tag to find it by; may be given again.", "tags", many=True),
        ),
        more="To have a key made for a value, pipe the value in: beside a VALUE, - is a key like any other. "
        "An entry that has the key is replaced whole: value, time and tags. A value from stdin is text if it is "
        "valid UTF-8, else bytes; either way it comes out as it went in. A value that starts with - goes after --.",
    ),
    Verb(
        "get",
        "Print the value of an entry.",
        "stash get build/42\nstash get answer --wait 30s",
        run="hot:get",
        op="get",
        hot=True,
        arguments=(KEY,),
        options=(
            Option("--touch", "flag", "Give the entry its own TTL again.", "touch"),
            Option("--wait", "duration", "Wait so long for the key to appear; else exit 124.", "wait_ms"),
            Option("--default", "text", "Print this instead if there is no such entry, or none in time."),
        ),
        more="The bytes are printed as they are; a newline is added on a terminal only. Without such an entry the "
        "exit status is 3.",
    ),
    Verb(
        "update",
        "Replace the value, the time, or both, of an entry that is there.",
        "stash update build/42 failed\nstash update build/42 failed --extend 30m",
        run="hot:update",
        op="update",
        hot=True,
        arguments=(KEY, VALUE),
        options=(
            Option("--extend", "duration", "Add to the time it has left.", "extend_ms"),
            IF_VERSION,
            JSON_VALUE,
        ),
        more="Without --extend the time it has left stays. With --extend and no VALUE the value stays; say - to read "
        "one from stdin.",
    ),
    Verb(
        "extend",
        "Add to the time an entry has left; print the seconds.",
        "stash extend build/42 30m",
        run="hot:extend",
        op="extend",
        hot=True,
        arguments=(KEY, Argument("by", "duration", "How much.", "by_ms", required=True, metavar="DURATION")),
        more="The tier's longest TTL bounds it; stderr says when it did.",
    ),
    Verb(
        "forget",
        "Delete entries; print how many there were.",
        "stash forget build/42\nstash forget --prefix build/ --yes",
        run="hot:forget",
        op="forget",
        hot=True,
        arguments=(Argument("keys", "key", "Keys of entries.", "keys", many=True, metavar="KEY"),),
        options=(
            Option("--prefix", "prefix", "All entries whose key starts with this."),
            Option("--tag", "tag", "All entries with this tag."),
            Option("-y --yes", "flag", "Do not ask. Only a terminal is ever asked, and only with --prefix or --tag."),
        ),
        more="If there was none, the exit status is 3. An empty prefix means every entry; off a terminal it is refused "
        "without --yes, for it may be a variable that was never set.",
    ),
    Verb(
        "ttl",
        "Print the seconds an entry has left.",
        "stash ttl build/42",
        run="hot:ttl",
        op="ttl",
        hot=True,
        arguments=(KEY,),
    ),
    Verb(
        "exists",
        "Exit with 0 if there is such an entry, else with 3.",
        "stash exists build/42 && echo there",
        run="hot:exists",
        op="exists",
        hot=True,
        arguments=(KEY,),
    ),
    Verb(
        "list",
        "Print the keys of all entries, one a line.",
        "stash list build/ -l",
        run="hot:list_",
        op="list",
        hot=True,
        alias="ls",
        arguments=(PREFIX,),
        options=(
            Option("-l --long", "flag", "With size, time left and age."),
            Option("-0 --null", "flag", "End each key with a NUL, for xargs -0."),
            TAG,
            Option("--limit", "number", "At most so many."),
            Option("--cursor", "prefix", "Go on where the list with --json --limit ended.", "cursor"),
        ),
        more="A key may hold any character, newlines too. On a terminal and with -l, control characters are escaped; "
        "else keys are printed as they are, and only -0 and --json tell for sure where one ends.",
    ),
)

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
        "batch",
        "Carry out commands from stdin, one JSON object a line; print one reply a line.",
        'printf \'%s\\n\' \'{"op": "set", "key": "k", "value": "v", "ttl": 60}\' | stash batch',
        run="commands.batch:batch",
        options=(Option("--atomic", "flag", "All or none: one transaction, at most 1,000 commands."),),
        more="Ops: set, get, update, extend, forget, ttl, exists, list, incr, append. A string is kept as text, "
        'any other is JSON; bytes are value_base64. Replies are {"ok": true, …} or {"ok": false, "error": {…}}, in '
        "order. Exit 0 if all were ok, else as the first that was not.",
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
            ONLY_PREFIX,
            TAG,
            Option("--dry-run", "flag", "Delete nothing; print the keys of live entries it would delete.", "dry_run"),
            Option("--archive", "file", "Add what the policies delete to this file first, as JSON lines."),
        ),
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
)

SERVE_OPTIONS = (
    Option("--mode", "choice", "The preset the defaults come from.", choices=("local", "dev", "production")),
    Option("--config-path", "file", "The configuration file."),
    Option("--env-file", "file", "Read STASH_… variables from this file; set ones win."),
    Option("--data-dir", "file", "Where the database lies."),
    Option("--log-dir", "file", "Where stash.log lies."),
    Option("--tcp", "text", "Listen there too.", metavar="HOST:PORT"),
    Option("--tls-cert", "file", "PEM file; TCP off loopback needs it."),
    Option("--tls-key", "file", "PEM file of the certificate's private key."),
    Option("--backend", "choice", "A file, or nothing but memory.", choices=("sqlite", "memory")),
    Option(
        "--durability",
        "choice",
        "What a write survives: kill -9; power loss too; nothing.",
        choices=("normal", "full", "memory"),
    ),
    Option("--require-api-key", "text", "Ask for an API key on the Unix socket too.", metavar="true|false"),
    Option("--idle-exit", "text", "An auto-started daemon exits after so long; 0: never.", metavar="DURATION"),
    Option("--max-connections", "text", "Connections at once.", metavar="N"),
    Option("--max-memory", "text", "Requests and replies held at once.", metavar="SIZE"),
    Option("--peer-rate", "text", "Requests a minute of one peer.", metavar="N"),
    Option("--peer-burst", "text", "Requests of one peer at once.", metavar="N"),
    Option("--log-level", "choice", "The least that is logged.", choices=("DEBUG", "INFO", "WARNING", "ERROR")),
    Option("--log-format", "choice", "How a log line looks.", choices=("json", "console")),
    Option("--audit-log", "file", "A line per operation and refusal goes there."),
    Option("--audit-required", "text", "Refuse writes that cannot be audited.", metavar="true|false"),
    Option("--audit-keep", "text", "How long rotated audit files stay; off: for good.", metavar="DURATION"),
    Option("--default-ttl", "text", "The TTL of an entry that was given none, in tier local.", metavar="DURATION"),
    Option("--max-ttl", "text", "The longest TTL, in tier local.", metavar="DURATION"),
    Option("--max-payload-bytes", "text", "The largest value, in tier local.", metavar="SIZE"),
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
        "Print figures since the daemon's start.",
        "stash stats",
        run="commands.figures:stats",
        op="stats",
        options=(Option("--prometheus", "flag", "In Prometheus' text format.", "prometheus"),),
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
        more="Every line says ok, warn or fail. The exit status is 0, or 9 if something failed.",
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

VERBS = (*HOT_VERBS, *VALUE_VERBS, *DAEMON_VERBS, *ADMIN_VERBS)
"""All verbs, in the order of the help."""

GROUPS = {"key": "Make, list, rotate and revoke API keys.", "config": "Show the settings in force."}
"""The first words of verbs that have two."""
