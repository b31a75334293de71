"""What is kept of a flame graph: the picture, with names that fit and without what runs in a browser."""

from __future__ import annotations

from benchmarks.profile import plain

FRAME = (
    '<g><title>main (here.py:1) (9 samples, 9.00%)</title><rect x="0" width="{}%" fill="red"/>'
    '<text x="1" y="2"></text></g>'
)


def test_a_picture_says_its_name_and_those_of_its_frames_as_far_as_they_fit():
    svg = '<svg onload="init(evt)"><text id="title" x="1">py-spy --pid 7 -o /home/me</text>'
    svg += (
        "<script>run()</script><!-- by --> "
        + FRAME.format("50.0")
        + FRAME.format("5")
        + FRAME.format("1")
        + "</svg>"
    )
    found = plain(svg, "flame")
    assert "/home" not in found
    assert "run()" not in found
    assert "onload" not in found
    assert '<text id="title" x="1">flame</text>' in found
    assert found.count(">main (here.py:1)</text>") == 1
    assert found.count(">main (..</text>") == 1
    assert found.count('y="2"></text>') == 1
