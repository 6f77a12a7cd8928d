"""Images decoded on the device or cached in its memory. A CPU is a device too."""
