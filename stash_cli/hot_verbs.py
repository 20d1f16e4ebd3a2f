"""The verbs the fast parser knows, and the rows they share with others. What a row means is in `options`."""

from __future__ import annotations

from stash_cli.options import Argument, Option, Verb

KEY = Argument("key", "key", "The entry's key.", "key", required=True)
VALUE = Argument("value", "text", "The value; left out or -: from stdin, byte for byte.")
PREFIX = Argument("prefix", "prefix", "Only keys that start with this.", "prefix")

TTL = Option("--ttl", "duration", "How long it lives; else the tier's default.", "ttl_ms")
JSON_VALUE = Option("--json-value", "flag", "The value is JSON; it is checked.")
IF_VERSION = Option("--if-version", "number", "Only if the entry has this version; else exit 6.", "if_version")
TAG = Option("--tag", "tag", "Only entries with this tag.", "tag")
ONLY_PREFIX = Option("--prefix", "prefix", "Only keys that start with this.", "prefix")

KINDS = ("memory", "message", "episode")
ROLES = ("system", "user", "assistant", "tool")

MEMORY_OPTIONS = (
    Option("--text", "words", "What it is found by.", "memory.text"),
    Option("--embed", "flag", "Be found by the value itself, unless there is --text.", "memory.embed"),
    Option("--no-embed", "flag", "Be found by words only: no vector is made of the text."),
    Option("--embedding", "vector", "A vector of your own: a JSON array, or raw float32.", "memory.vector"),
    Option("--model", "words", "What made that vector; models are never compared.", "memory.model"),
    Option("--group", "words", "The conversation or task it belongs to.", "memory.group"),
    Option("--role", "choice", "Whose words it is.", "memory.role", choices=ROLES),
    Option("--score", "decimal", "How good it was; an episode calls it its reward.", "memory.score"),
    Option("--importance", "share", "0 to 1, in place of the one that is computed.", "memory.importance"),
    Option("--meta", "pair", "To filter by; JSON or text; may be given again.", "memory.metadata", many=True),
    Option("--at", "moment", "When it happened, if not now.", "memory.at"),
    Option("--wait-embedding", "flag", "Return once its vector is there, or was given up; else exit 124."),
)
"""What makes an entry a memory, which `stash search` finds."""

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
            *MEMORY_OPTIONS,
            Option("--kind", "choice", "What it is kept and shown as.", "memory.kind", choices=KINDS),
        ),
        more="To have a key made for a value, pipe the value in: beside a VALUE, - is a key like any other. "
        "An entry that has the key is replaced whole: value, time and tags. A value from stdin is text if it is "
        "valid UTF-8, else bytes; either way it comes out as it went in. A value that starts with - goes after --. "
        "With --text and the options after it, it is a memory that `stash search` finds.",
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
            *MEMORY_OPTIONS,
        ),
        more="Without --extend the time it has left stays. With --extend, --text or the options after it and no VALUE "
        "the value stays; say - to read one from stdin. What is not given of a memory stays.",
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
            Option("--reverse", "flag", "The last first.", "reverse"),
            Option("--cursor", "prefix", "Go on where the list with --json --limit ended.", "cursor"),
        ),
        more="A key may hold any character, newlines too. On a terminal and with -l, control characters are escaped; "
        "else keys are printed as they are, and only -0 and --json tell for sure where one ends.",
    ),
)
