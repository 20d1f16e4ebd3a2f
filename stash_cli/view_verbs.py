"""The verbs of episodes, messages and conversations. What a row means is in `options`."""

from __future__ import annotations

from stash_cli.hot_verbs import IF_VERSION, JSON_VALUE, ROLES
from stash_cli.memory_verbs import WHEN
from stash_cli.options import Argument, Option, Verb

TASK = Argument("task", "words", "The task it belongs to.", "memory.group", required=True)
CONVERSATION = Argument("conversation", "words", "The conversation's id.", required=True, metavar="ID")
MESSAGES = Argument("keys", "key", "Keys of messages.", "keys", required=True, many=True, metavar="KEY")
CONTENT = Argument("value", "text", "What was said; left out or -: from stdin.", metavar="CONTENT")

ENTRY_KEY = Option("--key", "key", "The entry's key; else one is made.", "key")
LIFE = Option("--ttl", "duration", "How long it lives; else 90 days, within the tier's longest.", "ttl_ms")
TAGS = Option("--tag", "tag", "A tag to find it by; may be given again.", "tags", many=True)
META = Option("--meta", "pair", "To filter by; JSON or text; may be given again.", "memory.metadata", many=True)
AT = Option("--at", "moment", "When it happened, if not now.", "memory.at")
MODEL = Option("--model", "words", "What made that vector; models are never compared.", "memory.model")
OWN_IMPORTANCE = Option("--importance", "share", "0 to 1, in place of the one that is computed.", "memory.importance")
ARCHIVED = Option("--archived", "flag", "Also what retention has archived.", "filter.archived")

PAGE = (
    Option("--limit", "number", "At most so many; 100 unless given.", "k"),
    Option("--offset", "count", "Leave out so many first.", "offset"),
    Option("--newest", "flag", "The last first."),
    ARCHIVED,
)

OF_TASKS = (
    Option("--task", "words", "Of this task.", "filter.group"),
    Option("--task-prefix", "words", "Of tasks that start with this.", "filter.group_prefix", metavar="PREFIX"),
    Option("--tag", "tag", "With any of these tags; may be given again.", "filter.tags_any", many=True),
    Option("--all-tags", "tag", "With this tag too; may be given again.", "filter.tags_all", many=True),
    Option("--min-reward", "decimal", "With a reward, at least this.", "filter.min_score"),
    Option("--after", "moment", "That happened then or later.", "filter.after"),
    Option("--before", "moment", "That happened earlier.", "filter.before"),
    Option("--where", "condition", "On metadata, such as lang=en; may be given again.", "filter.where", many=True),
)

EPISODE_VERBS = (
    Verb(
        "episode add",
        "Store what was gone through in a task, and what came of it; print the key.",
        "stash episode add maze/7 'left, left, right' --reward 0.8 --tag solved",
        run="commands.episode:add",
        op="set",
        arguments=(TASK, Argument("value", "text", "What to keep; left out or -: from stdin.")),
        options=(
            Option("--content", "words", "What it is found by in words; else the value.", "memory.text"),
            Option("--embedding", "vector", "The state it began in: a JSON array, or raw float32.", "memory.vector"),
            MODEL,
            Option("--reward", "decimal", "What came of it; other memories call it their score.", "memory.score"),
            META,
            AT,
            TAGS,
            ENTRY_KEY,
            LIFE,
            JSON_VALUE,
        ),
        more=f"With --content and no VALUE, that is the value. {WHEN}",
    ),
    Verb(
        "episode query",
        "Find episodes: the nearest first, or the newest where there is nothing to be near to.",
        "stash episode query --task-prefix maze/ --min-reward 0.5 -k 3",
        run="commands.episode:query",
        op="search",
        arguments=(Argument("query", "words", "Words to find.", "query", joined=True),),
        options=(
            Option("-k --limit", "number", "At most so many, up to 4,096; 10 unless given.", "k"),
            Option("--embedding", "vector", "The state to be near to: a JSON array, or raw float32.", "vector"),
            Option("--model", "words", "What made that vector.", "model"),
            *OF_TASKS,
            Option("--offset", "count", "Leave out so many first.", "offset"),
            Option("--order", "choice", "How to sort; score is by reward.", "order",
                   choices=("rank", "newest", "oldest", "score", "importance")),
            Option("--importance-weight", "share", "What importance counts; 0 unless given.", "importance_weight"),
            ARCHIVED,
        ),
        more=f"Prints what `stash search` prints. {WHEN}",
    ),
    Verb(
        "episode prune",
        "Delete the episodes that any of the policies chooses; print their keys.",
        "stash episode prune --task maze/7 --keep-highest-reward 100",
        run="commands.episode:prune",
        op="prune",
        options=(
            Option("--older-than", "duration", "What happened longer ago.", "older_than_ms"),
            Option("--keep-newest", "count", "All but so many, by when they happened.", "keep_newest"),
            Option("--keep-highest-reward", "count", "All but so many that have a reward.", "keep_highest_score"),
            *OF_TASKS,
            Option("--dry-run", "flag", "Delete nothing; print what it would delete.", "dry_run"),
            Option("-y --yes", "flag", "Do not ask. Only a terminal is ever asked, and only where 0 are to be kept."),
        ),
        more="At least one policy must be given. Episodes without a reward are not chosen by theirs. Off a terminal, "
        f"to keep 0 of all episodes is refused without --yes or --dry-run. {WHEN}",
    ),
    Verb(
        "episode save",
        "Write all episodes as JSON lines, as export does.",
        "stash episode save episodes.jsonl",
        run="commands.episode:save",
        arguments=(Argument("file", "file", "Where to; left out or -: stdout."),),
        options=(Option("--task-prefix", "words", "Only of tasks that start with this.", metavar="PREFIX"),),
        more="The file is there whole or not at all.",
    ),
    Verb(
        "episode load",
        "Read episodes that save wrote, each with the time it had left.",
        "stash episode load episodes.jsonl",
        run="commands.episode:load",
        op="import",
        arguments=(Argument("file", "file", "Where from; -: stdin.", required=True),),
        options=(Option("--replace", "flag", "Overwrite episodes that are there; else they stay.", "replace"),),
        more="What is no episode ends it.",
    ),
)  # fmt: skip

MESSAGE_VERBS = (
    Verb(
        "message add",
        "Store what somebody said in a conversation; print the key.",
        "stash message add chat/42 user 'where does the parser fail?'",
        run="commands.message:add",
        op="set",
        arguments=(
            Argument("conversation", "words", "The conversation's id.", "memory.group", required=True, metavar="ID"),
            Argument("role", "choice", "Whose words: " + ", ".join(ROLES) + ".", "memory.role", required=True,
                     choices=ROLES),
            CONTENT,
        ),
        options=(
            META,
            OWN_IMPORTANCE,
            AT,
            TAGS,
            ENTRY_KEY,
            LIFE,
            Option("--no-embed", "flag", "No vector is made of it."),
        ),
        more=f"An embedder comes to it later; --json says embedding_status. {WHEN}",
    ),
    Verb(
        "message get",
        "Print the content of messages.",
        "stash message get message/chat/42/0aZ9",
        run="commands.message:get",
        op="search",
        arguments=(Argument("keys", "key", MESSAGES.help, "filter.keys", required=True, many=True, metavar="KEY"),),
        more="If one is not there, the exit status is 3, and nothing is printed.",
    ),
    Verb(
        "message update",
        "Change the content of a message, or what is known of it; the rest stays.",
        "stash message update message/chat/42/0aZ9 'where does the lexer fail?'",
        run="commands.message:update",
        op="update",
        arguments=(
            Argument("key", "key", "The message's key.", "key", required=True),
            Argument("value", "text", "What was said; -: from stdin.", metavar="CONTENT"),
        ),
        options=(
            Option("--role", "choice", "Whose words.", "memory.role", choices=ROLES),
            META,
            OWN_IMPORTANCE,
            AT,
            Option("--extend", "duration", "Add to the time it has left.", "extend_ms"),
            IF_VERSION,
        ),
        more=WHEN,
    ),
    Verb(
        "message forget",
        "Delete messages; print how many there were.",
        "stash message forget message/chat/42/0aZ9",
        run="commands.message:forget",
        op="forget",
        arguments=(MESSAGES,),
        more="If there was none, the exit status is 3.",
    ),
    Verb(
        "message list",
        "Print messages, a line each, in the order they were said.",
        "stash message list chat/42 --newest --limit 20",
        run="commands.message:list_",
        op="search",
        arguments=(Argument("conversation", "words", "Only of this conversation.", "filter.group", metavar="ID"),),
        options=(
            Option("--role", "choice", "Whose words; may be given again.", "filter.roles", many=True, choices=ROLES),
            *PAGE,
        ),
        more="A line is key, role and the first line of the content, with tabs between.",
    ),
)  # fmt: skip

CONVERSATION_VERBS = (
    Verb(
        "conversation list",
        "Print conversations, a line each, the one with the latest message first.",
        "stash conversation list chat/ --limit 20",
        run="commands.conversation:list_",
        op="conversations",
        arguments=(Argument("prefix", "words", "Only those whose id starts with this.", "prefix", metavar="PREFIX"),),
        options=(
            Option("--limit", "number", "At most so many, up to 1,000; 100 unless given.", "limit"),
            Option("--offset", "count", "Leave out so many first.", "offset"),
            Option("--archived", "flag", "Count messages too that retention has archived.", "archived"),
        ),
        more="A line is id, number of messages, time of the last one and title, with tabs between.",
    ),
    Verb(
        "conversation show",
        "Print what was said in a conversation, each message after its role.",
        "stash conversation show chat/42 --newest --limit 1",
        run="commands.conversation:show",
        op="search",
        arguments=(
            Argument("conversation", "words", "The conversation's id.", "filter.group", required=True, metavar="ID"),
        ),
        options=PAGE,
        more="If there is no such conversation, the exit status is 3.",
    ),
    Verb(
        "conversation update",
        "Give a conversation a title, or metadata.",
        "stash conversation update chat/42 --title 'the leak' --meta state=open",
        run="commands.conversation:update",
        arguments=(CONVERSATION,),
        options=(
            Option("--title", "words", "What to call it."),
            Option("--meta", "pair", "JSON or text; may be given again; replaces what there was.", many=True),
        ),
        more="That is kept in the entry conversation/ID, and lives as long as any of its messages.",
    ),
    Verb(
        "conversation forget",
        "Delete all messages of a conversation; print how many there were.",
        "stash conversation forget chat/42 --yes",
        run="commands.conversation:forget",
        arguments=(CONVERSATION,),
        options=(Option("-y --yes", "flag", "Do not ask. Only a terminal is ever asked."),),
        more="If there was none, the exit status is 3.",
    ),
    Verb(
        "conversation stats",
        "Print what a conversation comes to.",
        "stash conversation stats chat/42",
        run="commands.conversation:stats",
        op="conversations",
        arguments=(Argument("conversation", "words", "The conversation's id.", "group", required=True, metavar="ID"),),
        more="Messages by role, how many have a vector, their mean importance, tokens (of 4 characters), first and "
        "last. Archived messages count.",
    ),
)

VIEW_VERBS = (*EPISODE_VERBS, *MESSAGE_VERBS, *CONVERSATION_VERBS)
VIEW_GROUPS = {
    "episode": "What was gone through in tasks, and what came of it.",
    "message": "What was said in conversations.",
    "conversation": "Conversations: what their messages come to.",
}
