"""How does foreign text get into a page without becoming code?

Data for scripts is JSON in an inert block with the characters that could end it written as escapes. Scripts and styles
run only if their hash is in the content security policy; nothing may be loaded from anywhere.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Sequence
from typing import Any


def script_json(value: Any) -> str:
    """Write JSON that can stand inside a script element: ASCII only, no `<`, `>` or `&`.

    Args:
        value: anything that JSON can hold; not-a-number and infinities become null.

    Returns:
        The text; `json.loads` of it gives the value back.
    """
    text = json.dumps(_finite(value), ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def squeezed(content: bytes) -> str:
    """Compress what the page unpacks when it is asked for.

    Args:
        content: anything.

    Returns:
        Gzip in base64: a tenth of most tables, and inert wherever it stands.
    """
    return base64.b64encode(gzip.compress(content, mtime=0)).decode()


def _finite(value: Any) -> Any:
    """JSON has no NaN: what is not finite is missing."""
    if isinstance(value, float) and value - value != 0:
        return None
    if isinstance(value, dict):
        return {str(key): _finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    return value


def policy(scripts: Sequence[str], styles: Sequence[str]) -> str:
    """Give the content security policy of a page with these inline scripts and styles and no others.

    Args:
        scripts: the exact text of each script that may run.
        styles: the exact text of each style element.

    Returns:
        The value of the meta element. It needs no `unsafe-eval`: charts are drawn by Vega's expression interpreter.
    """
    return (
        "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"script-src {' '.join(map(_hash, scripts))}; style-src {' '.join(map(_hash, styles))}"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
