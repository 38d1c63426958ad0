"""The machine an iteration runs on: device, precision, graphs, ranks, processes."""
