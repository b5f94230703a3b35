#!/usr/bin/env python3
"""Builds the fonts below client/assets/fonts from Debian's packages fonts-inter, fonts-noto-cjk and
fonts-noto-color-emoji, and from lucide's lucide.ttf (first argument). Needs python3-fonttools."""

import pathlib
import re
import sys

from fontTools import subset
from fontTools.pens.cu2quPen import Cu2QuPen
from fontTools.pens.transformPen import TransformPen
from fontTools.pens.ttGlyphPen import TTGlyphPen
from fontTools.svgLib.path import parse_path
from fontTools.ttLib import TTFont

HERE = pathlib.Path(__file__).resolve().parent
OUT = HERE.parent / "client/assets/fonts"
SYSTEM = pathlib.Path("/usr/share/fonts")
PIGEON = 0xF8FE


def cut(font, points, target):
    options = subset.Options(hinting=False, layout_features=[], notdef_outline=True, drop_tables=["GSUB", "GPOS", "vhea", "vmtx", "VORG", "BASE"])
    cutter = subset.Subsetter(options)
    cutter.populate(unicodes=points)
    cutter.subset(font)
    font.save(target)
    print(target.name, target.stat().st_size)


def of_encoding(name, rows, cells=range(0xA1, 0xFF)):
    """Characters of the first rows of a double-byte set, which are the frequent ones."""
    for row in rows:
        for cell in cells:
            try:
                yield ord(bytes((row, cell)).decode(name))
            except (UnicodeDecodeError, TypeError):
                pass


def cjk():
    points = set(range(0x3000, 0x3100)) | set(range(0xFF00, 0xFFF0))
    points |= set(of_encoding("euc_jp", range(0xB0, 0xD0)))
    points |= set(of_encoding("gb2312", range(0xB0, 0xD8)))
    points |= set(of_encoding("euc_kr", range(0xB0, 0xC9)))
    font = TTFont(SYSTEM / "opentype/noto/NotoSansCJK-Regular.ttc", fontNumber=2)
    cut(font, points, OUT / "NotoSansCJKsc-Subset.otf")


def emoji():
    points = set(range(0x1F600, 0x1F650)) | set(range(0x1F90C, 0x1F930)) | set(range(0x1F440, 0x1F4B0))
    points |= set(range(0x1F380, 0x1F394)) | set(range(0x1F680, 0x1F690)) | set(range(0x1F4B0, 0x1F4F8))
    points |= {0x2705, 0x274C, 0x2764, 0x2728, 0x26A0, 0x2B50, 0x1F525, 0x1F54A, 0x1F389, 0x1F970, 0x1F973, 0x1F4E6, 0x231B, 0x23F3, 0x1F9E1, 0x1FAE1, 0xFE0F, 0x200D}
    font = TTFont(SYSTEM / "truetype/noto/NotoColorEmoji.ttf")
    cut(font, points, OUT / "NotoColorEmoji-Subset.ttf")


def icons(lucide):
    source = (HERE.parent / "client/src/gui/icon.rs").read_text()
    points = {int(code, 16) for code in re.findall(r"u\{([0-9a-f]{4})\}", source)} - {PIGEON}
    font = TTFont(lucide)
    draw_pigeon(font)
    for record in font["name"].names:
        if record.nameID in (1, 4, 6, 16):
            record.string = "columba-icons"
    cut(font, points | {PIGEON}, OUT / "columba-icons.ttf")


def draw_pigeon(font):
    """The bird of columba.svg as a glyph."""
    paths = re.findall(r'<path [^>]*d="([^"]+)"', (HERE / "columba.svg").read_text())
    em = font["head"].unitsPerEm
    scale = em / 52
    pen = TTGlyphPen(None)
    quadratic = Cu2QuPen(pen, em / 1000, reverse_direction=True)
    # SVG's y points down; the drawing spans 9..57 by 12..49.
    flip = TransformPen(quadratic, (scale, 0, 0, -scale, -6.5 * scale, 56 * scale - em * 0.0))
    for path in paths:
        parse_path(path, flip)
    eye = "M42.2 22.9a2.3 2.3 0 1 0 4.600 0a2.3 2.3 0 1 0 -4.600 0z"
    parse_path(eye, flip)
    name = "pigeon"
    font.setGlyphOrder(font.getGlyphOrder() + [name])
    font["glyf"][name] = pen.glyph()
    font["hmtx"][name] = (em, 0)
    for table in font["cmap"].tables:
        if table.isUnicode():
            table.cmap[PIGEON] = name


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    cjk()
    emoji()
    icons(sys.argv[1])
    for weight in ("Regular", "SemiBold"):
        name = f"Inter-{weight}.otf"
        (OUT / name).write_bytes((SYSTEM / "opentype/inter" / name).read_bytes())


main()
