"""Pictures side by side, in lines."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

#: How much larger than their pixels.
ENLARGED = 2


def contact_sheet(lines: Sequence[Tensor]) -> bytes:
    """Lines of as many greys [n, rows, columns] or colours [..., 3] from 0 to 1 → a PNG."""
    greys: NDArray[np.float32] = np.stack([line.cpu().numpy() for line in lines])
    count, across, height, width = greys.shape[:4]
    sheet = np.ones((count * (height + 1), across * (width + 1), *greys.shape[4:]))
    for y in range(count):
        for x in range(across):
            top, left = y * (height + 1), x * (width + 1)
            sheet[top : top + height, left : left + width] = greys[y, x]
    pixels = (sheet.clip(0, 1) * 255).round().astype(np.uint8)
    larger = pixels.repeat(ENLARGED, 0).repeat(ENLARGED, 1)
    buffer = io.BytesIO()
    Image.fromarray(larger).save(buffer, "PNG")
    return buffer.getvalue()
