"""File endings that the readers take, in a module that imports nothing."""

#: Pictures, for :func:`fieldsight.data.images.read_image`.
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".gif", ".pgm", ".ppm", ".npy")

#: Chip layouts, for :func:`fieldsight.data.gds.open_layout`.
LAYOUT_SUFFIXES = (".gds", ".gdsii", ".gds2", ".oas", ".oasis")
