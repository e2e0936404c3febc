"""Pictures from strangers: made harmless and smaller, each in a process of its own with a bound on everything.

Stands on the settings and Pillow; why, says `docs/decisions/0009-files-and-pictures.md`. Knows files of this machine,
and nothing of what they are for.
"""

from courtyard.kernel.pictures.errors import PictureRefused, TooManyPictures
from courtyard.kernel.pictures.pictures import THUMBNAIL_TYPE, TYPES, Cleaned, Pictures

__all__ = ["THUMBNAIL_TYPE", "TYPES", "Cleaned", "PictureRefused", "Pictures", "TooManyPictures"]
