"""The sources of images, their packing, and the packed format that everything reads."""
