"""What an application needs: images from a generator file, without torch."""
