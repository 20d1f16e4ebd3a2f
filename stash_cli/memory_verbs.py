"""The verbs that search memories. What a row means is in `options`."""

from __future__ import annotations

from stash_cli.hot_verbs import KINDS, ONLY_PREFIX, PREFIX, ROLES
from stash_cli.options import Argument, Option, Verb

ABOUT_QUERY = "Words to find; with an embedder also what they mean. Left out: the filters alone choose."

NEAR = (
    Option("--mode", "choice", "How to search.", "mode", choices=("auto", "vector", "keyword", "hybrid")),
    Option("--like", "key", "Near to this memory, which is left out.", "like"),
    Option("--embedding", "vector", "Near to the vector in this file: a JSON array, or raw float32.", "vector"),
    Option("--model", "words", "What made that vector, where memories were stored with a --model.", "model"),
)

FILTERS = (
    Option("--tag", "tag", "With any of these tags; may be given again.", "filter.tags_any", many=True),
    Option("--all-tags", "tag", "With this tag too; may be given again.", "filter.tags_all", many=True),
    Option("--group", "words", "Of this conversation or task.", "filter.group"),
    Option("--group-prefix", "words", "Whose group starts with this.", "filter.group_prefix", metavar="PREFIX"),
    Option("--segments", "flag", "The prefix of keys ends where a segment (/) does.", "filter.segments"),
    Option("--kind", "choice", "Of this kind.", "filter.kind", choices=KINDS),
    Option("--role", "choice", "Whose words; may be given again.", "filter.roles", many=True, choices=ROLES),
    Option("--after", "moment", "That happened then or later.", "filter.after"),
    Option("--before", "moment", "That happened earlier.", "filter.before"),
    Option("--min-score", "decimal", "With a score (an episode's reward) of at least this.", "filter.min_score"),
    Option("--where", "condition", "On metadata, such as lang=en; may be given again.", "filter.where", many=True),
    Option("--archived", "flag", "Also what retention has archived.", "filter.archived"),
)

RANKING = (
    Option("-k --limit", "number", "At most so many hits, up to 4,096.", "k"),
    Option("--offset", "count", "Leave out so many first.", "offset"),
    Option(
        "--order", "choice", "How to sort.", "order", choices=("rank", "newest", "oldest", "score", "importance")
    ),
    Option("--importance-weight", "share", "What importance counts; similarity counts the rest.", "importance_weight"),
    Option("--half-life", "duration", "After which recency counts half.", "half_life_ms"),
)  # fmt: skip

WHEN = "A time is 2026-01-31, 2026-01-31T14:00+01:00 (UTC without an offset), seconds since 1970, or 2h: so long ago."

MEMORY_VERBS = (
    Verb(
        "search",
        "Find memories by words, by meaning, like another one, or by filters; best first.",
        "stash search 'where does the parser fail'\nstash search leak --tag bug --after 7d -k 5\n"
        "stash search --where 'reward>=0.5' --order newest --json",
        run="commands.search:search",
        op="search",
        hot=True,
        arguments=(Argument("query", "words", ABOUT_QUERY, "query", joined=True),),
        options=(
            *RANKING[:1],
            *NEAR,
            Option("--prefix", "prefix", ONLY_PREFIX.help, "filter.prefix"),
            *FILTERS,
            *RANKING[1:],
            Option("--budget", "number", "Tokens the texts may have together; one hit is always given.", "budget"),
            Option("--explain", "flag", "With the parts of every score.", "explain"),
        ),
        more="Prints key, score and the first line of the text, with tabs between; a table on a terminal. How it was "
        f"searched is said on stderr. No hits is no error. {WHEN}",
    ),
    Verb(
        "context",
        "Print the texts of the best memories that fit a budget of tokens, at least one.",
        "stash context chat/42/ --query 'what was decided' --budget 2000",
        run="commands.search:context",
        op="search",
        hot=True,
        arguments=(Argument("prefix", "prefix", PREFIX.help, "filter.prefix"),),
        options=(
            Option("--budget", "number", "Tokens, of 4 characters; 2,000 unless given.", "budget"),
            Option("--query", "words", ABOUT_QUERY, "query", metavar="QUERY"),
            *NEAR,
            *FILTERS,
            *RANKING,
        ),
        more="Ready for a prompt: the texts with an empty line between, each after its role. If there was more than "
        f"the budget allows, stderr says so. {WHEN}",
    ),
    Verb(
        "retention run",
        "Archive, delete and extend memories as the rules say; print how many.",
        "stash retention run --dry-run",
        run="commands.retention:run",
        op="retention_run",
        options=(
            Option("--dry-run", "flag", "Change nothing; print action, key and rule of the first 1,000.", "dry_run"),
        ),
        more="The daemon does so once a day by itself, see `stash retention show`. Archived memories are left out of "
        "search unless it asks for them with --archived, and are deleted later.",
    ),
    Verb(
        "retention show",
        "Print the rules of retention, when it runs next, and what the last run did.",
        "stash retention show",
        run="commands.retention:show",
        op="retention",
        more="The first rule that fits a memory decides. Rules stand in the configuration file.",
    ),
    Verb(
        "embed status",
        "Print how far the embedder is with the memories here, and how it is.",
        "stash embed status",
        run="commands.embed:status",
        op="embedding",
        more="Embedder, dimensions, how many memories are pending, completed, failed and skipped, how many a rebuild "
        "would be about, what made the vectors there are, the last error, and whether the embedder is left alone.",
    ),
    Verb(
        "embed retry",
        "Have the embedder try again what it has given up; print how many.",
        "stash embed retry",
        run="commands.embed:retry",
        op="embed_retry",
    ),
    Verb(
        "embed rebuild",
        "Have the embedder that is set now make the vectors that another made, or none; print how many.",
        "stash embed rebuild --no-wait",
        run="commands.embed:rebuild",
        op="embed_rebuild",
        options=(Option("--no-wait", "flag", "Do not wait until they are made."),),
        more="Waits until nothing is pending any more, with a progress bar on a terminal; the daemon goes on when "
        "you do not. Vectors that were given with --embedding stay.",
    ),
)
