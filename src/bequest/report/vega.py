"""Which script draws the charts of a page, and where is it kept?

vl-convert puts Vega, Vega-Lite and Vega-Embed together in some seconds. The script is the same until vl-convert is
another one, so it is kept in the user's folder for caches; where that cannot be written, it is made each time.
"""

from __future__ import annotations

import hashlib
import os
from functools import cache
from importlib.metadata import version
from pathlib import Path

from bequest.study.store import StoreError, write_whole


@cache
def vega_script() -> str:
    """Give Vega, Vega-Lite and Vega-Embed as one script; it sets `window.vegaEmbed`."""
    place = _folder() / f"vega-{version('vl-convert-python')}.js"
    kept = _kept(place)
    if kept is not None:
        return kept
    import vl_convert

    # the snippet is what the package calls its default; its type stub wants one
    script = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    # a script element ends at the first of these, wherever it stands
    script = script.replace("\r", "").replace("</script", "<\\/script").replace("<!--", "<\\!--")
    _keep(place, script)
    return script


def _folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "bequest"


def _kept(place: Path) -> str | None:
    """What was kept, unless it is not as it was written."""
    try:
        digest, _, script = place.read_text(encoding="utf-8").partition("\n")
    except (OSError, ValueError):
        return None
    return script if digest == _digest(script) else None


def _keep(place: Path, script: str) -> None:
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        write_whole(place, f"{_digest(script)}\n{script}")
    except (OSError, StoreError):
        return  # a full disk or a folder of someone else's: the page has its script all the same


def _digest(script: str) -> str:
    return hashlib.sha256(script.encode()).hexdigest()
