"""What a model is called in C: the prefix of its names and files."""

from __future__ import annotations

import re

from patchline.errors import UserError

LONGEST = 40
_OURS = frozenset({"pl", "board", "board_config", "host", "main", "model_config"})
_C_WORDS = frozenset({
    "auto", "break", "case", "char", "const", "continue", "default", "do", "double", "else", "enum", "extern", "float",
    "for", "goto", "if", "inline", "int", "long", "register", "restrict", "return", "short", "signed", "sizeof",
    "static", "struct", "switch", "typedef", "union", "unsigned", "void", "volatile", "while",
})  # fmt: skip


def checked_prefix(prefix: str) -> str:
    """`prefix` itself. Raises UserError unless it is a name in lower case that begins no other names."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", prefix) or len(prefix) > LONGEST or prefix in _OURS | _C_WORDS:
        raise UserError(
            f"prefix {prefix!r}: take a letter followed by letters, digits and '_', all lower case, at most {LONGEST} "
            f"in all, and no word of C or of Patchline's own ({', '.join(sorted(_OURS))})"
        )
    return prefix


def default_prefix(name: str) -> str:
    """The prefix for a network called `name`: its letters and digits, the rest as '_'."""
    text = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    if not text[:1].isalpha() or text in _OURS | _C_WORDS:
        text = f"net_{text}" if text else "net"
    return text[:LONGEST].rstrip("_")
