"""`monge inspect`: the contract, what the file holds, and how fast it is here."""

import re

from monge.serving.inspect import describe


def test_a_file_is_described_in_lines(model):
    text = "\n".join(describe(model, "cpu", 1))
    assert "16 values, standard normal, monge latents v1" in text
    assert "16x16 pixels, colour, uint8" in text
    assert "ConvTranspose 2" in text or "ConvTranspose 1" in text
    speeds = re.findall(r"batch +(\d+) +([\d,]+) images/s +[\d.]+ ms", text)
    assert [int(batch) for batch, _ in speeds] == [1, 16, 64]
    assert all(int(speed.replace(",", "")) > 0 for _, speed in speeds)
