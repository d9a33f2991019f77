"""A mask that looks right in any viewer, and the photo with its classes laid over it."""

from support.colors import lay_over, palette
from support.fonts import for_overlays

import numpy as np
from PIL import Image, ImageDraw


def mask_image(ids, colors):
    """A palette picture whose values are class ids and whose palette has the classes' colors.

    Args:
        ids: uint8 (H, W). colors: list of "#RRGGBB", one a class.
    """
    image = Image.fromarray(ids)
    image.putpalette(palette(colors)[: len(colors)].tobytes())
    return image


def draw_overlay(image, mask, names, colors):
    """The classes laid over a photo, and below it a legend of those that occur.

    Args:
        image: uint8 (H, W, 3). mask: what `mask_image` returned. names, colors: of the classes.

    Returns:
        PIL.Image.Image, as wide as the photo (or as the legend takes), and higher.
    """
    blend = lay_over(image, np.asarray(mask), names, colors)
    blend = Image.fromarray(np.rint(blend).astype(np.uint8))
    font = for_overlays(names, min(max(12, blend.width // 40), 80))
    line = round(1.5 * font.size)
    entries, x, y = [], line // 2, blend.height + line // 2
    widest = blend.width
    for number in np.flatnonzero(mask.histogram()[: len(names)]):
        width = round(line + font.getlength(names[number]) + line)
        if x + width > blend.width and entries and x > line // 2:  # goes on in the next line
            x, y = line // 2, y + line
        entries.append((x, y, names[number], colors[number]))
        x += width
        widest = max(widest, x)
    page = Image.new("RGB", (widest, y + round(1.3 * line)), "white")
    page.paste(blend)
    draw = ImageDraw.Draw(page)
    for x, y, name, color in entries:
        draw.rectangle((x, y, x + font.size, y + font.size), fill=color, outline="black")
        draw.text((x + line, y), name, fill="black", font=font)
    return page
