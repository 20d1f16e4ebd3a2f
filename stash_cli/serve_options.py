"""The options of `stash serve`: a flag for every setting. What a row means is in `options`."""

from __future__ import annotations

from stash_cli.options import Option

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
    Option("--memory-ttl", "text", "The TTL of a message or episode that was given none.", metavar="DURATION"),
    Option("--search-memory", "text", "Vectors held for searching, all namespaces together.", metavar="SIZE"),
    Option("--importance-percent", "text", "What importance counts in a rank.", metavar="0..100"),
    Option("--retention-every", "text", "Between two runs of retention.", metavar="DURATION|off"),
    Option("--retention-archive-after", "text", "After which what matters little is archived.", metavar="DURATION|off"),
    Option("--retention-archive-below", "text", "The importance that is little.", metavar="0..1"),
    Option("--retention-delete-after", "text", "After which archived memories go.", metavar="DURATION|off"),
    Option("--half-life", "text", "After which the recency in importance is a half.", metavar="DURATION"),
    Option("--log-level", "choice", "The least that is logged.", choices=("DEBUG", "INFO", "WARNING", "ERROR")),
    Option("--log-format", "choice", "How a log line looks.", choices=("json", "console")),
    Option("--audit-log", "file", "A line per operation and refusal goes there."),
    Option("--audit-required", "text", "Refuse writes that cannot be audited.", metavar="true|false"),
    Option("--audit-keep", "text", "How long rotated audit files stay; off: for good.", metavar="DURATION"),
    Option(
        "--embedder", "choice", "What makes vectors of texts.", choices=("none", "ollama", "openai", "local", "hash")
    ),
    Option("--embedder-model", "text", "Its model; else its usual one.", metavar="NAME"),
    Option("--embedder-url", "text", "Where it listens.", metavar="URL"),
    Option("--embedder-dimensions", "text", "How many numbers its vectors must have.", metavar="N"),
    Option("--embedder-batch", "text", "Texts in one call of it.", metavar="N"),
    Option("--embedder-timeout", "text", "For one call of the queue.", metavar="DURATION"),
    Option("--embedder-query-timeout", "text", "For the text of a search.", metavar="DURATION"),
    Option("--embedder-keep-alive", "text", "How long Ollama keeps the model loaded.", metavar="DURATION"),
    Option("--default-ttl", "text", "The TTL of an entry that was given none, in tier local.", metavar="DURATION"),
    Option("--max-ttl", "text", "The longest TTL, in tier local.", metavar="DURATION"),
    Option("--max-payload-bytes", "text", "The largest value, in tier local.", metavar="SIZE"),
)
