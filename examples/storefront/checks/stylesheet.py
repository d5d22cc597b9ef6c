"""Reads the stylesheet and measures contrast the way WCAG 2.1 does (success criterion 1.4.3)."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


def rules():
    """Selector to properties, for every rule of static/style.css."""
    text = (ROOT / "static" / "style.css").read_text(encoding="utf-8")
    found = {}
    for selector, body in re.findall(r"([^{}]+)\{([^{}]*)\}", text):
        pairs = (line.split(":", 1) for line in body.split(";") if ":" in line)
        found[" ".join(selector.split())] = {key.strip(): value.strip() for key, value in pairs}
    return found


def background_of(selector):
    """The background that text of this rule stands on."""
    every = rules()
    own = every[selector].get("background")
    area = "nav" if selector.split()[0] == "nav" else "body"
    return own or every[area]["background"]


def luminance(colour):
    def channel(start):
        value = int(colour[start : start + 2], 16) / 255
        return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4

    return 0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)


def contrast(one, other):
    """From 1 (none) to 21 (black on white)."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)
