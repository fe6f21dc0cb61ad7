"""How a verdict looks: a symbol and a word, so that colour is never the only sign."""

from __future__ import annotations

from dataclasses import dataclass

from fer_sweep.diagnosis import Verdict


@dataclass(frozen=True)
class Badge:
    """A verdict's symbol, its colour in a terminal (rich), and its tone on the page (a CSS class)."""

    symbol: str
    style: str
    tone: str


BADGES = {
    Verdict.DIVERGED: Badge("✖", "bold red", "bad"),
    Verdict.FAILED: Badge("⊘", "bold red", "bad"),
    Verdict.OVERFIT: Badge("▲", "red", "bad"),
    Verdict.MEMORISING: Badge("◆", "yellow", "warn"),
    Verdict.VAL_ABOVE_TRAIN: Badge("⇅", "cyan", "note"),
    Verdict.UNDERFIT: Badge("▼", "yellow", "warn"),
    Verdict.UNDERTRAINED: Badge("↗", "blue", "note"),
    Verdict.TOO_SHORT: Badge("…", "bright_black", "mute"),
    Verdict.HEALTHY: Badge("✔", "green", "good"),
}
