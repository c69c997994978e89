"""Pictures of a trajectory: which frames, which colours, and what is drawn where nothing renders."""

from __future__ import annotations

import numpy as np
import pytest

from ovito_mace_phase.phases import phase_table
from ovito_mace_phase.trajectory import picture_colors, pictured_frames
from ovito_mace_phase.trajectory.color_difference import difference, lab_of
from ovito_mace_phase.trajectory.flat_picture import flat_picture
from ovito_mace_phase.trajectory.picture import colors_of
from ovito_mace_phase.trajectory.record import FrameAtoms
from ovito_mace_phase.trajectory.summary import FrameSummary, PhaseShare
from ovito_mace_phase.trajectory.view import axes, corners, view_of


def frame_of(number: int, time: float | None = None, **counts: int) -> FrameSummary:
    table = phase_table()
    shares = [
        PhaseShare(key=key, color=table.by_key(key).color, count=count, confidence=1.0) for key, count in counts.items()
    ]
    shares.sort(key=lambda share: -share.count)
    total = sum(counts.values())
    return FrameSummary(frame=number, timestep=10 * number, time=time, n_atoms=total, shares=tuple(shares))


# ---------------------------------------------------------------- colours

SHARMA = (  # pairs of the table of Sharma, Wu and Dalal (2005): CIELAB twice, CIEDE2000
    ((50.0, 2.6772, -79.7751), (50.0, 0.0, -82.7485), 2.0425),
    ((50.0, -0.0010, 2.4900), (50.0, 0.0009, -2.4900), 4.8045),
    ((50.0, -0.0010, 2.4900), (50.0, 0.0011, -2.4900), 4.7461),
    ((50.0, 2.4900, -0.0010), (50.0, -2.4900, 0.0009), 7.1792),
    ((50.0, 2.4900, -0.0010), (50.0, -2.4900, 0.0011), 7.2195),
    ((50.0, 2.5000, 0.0000), (73.0, 25.0, -18.0), 27.1492),
    ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
    ((22.7233, 20.0904, -46.6940), (23.0331, 14.9730, -42.5619), 2.0373),
    ((90.8027, -2.0831, 1.4410), (91.1528, -1.6435, 0.0447), 1.4441),
    ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
)


def test_difference_is_that_of_the_article():
    first, second, expected = (np.array(column) for column in zip(*SHARMA, strict=True))
    assert difference(first, second) == pytest.approx(expected, abs=1e-4)
    assert difference(second, first) == pytest.approx(expected, abs=1e-4)


def test_white_black_and_red():
    assert lab_of([1.0, 1.0, 1.0]) == pytest.approx([100.0, 0.0, 0.0], abs=0.01)
    assert lab_of([0.0, 0.0, 0.0]) == pytest.approx([0.0, 0.0, 0.0])
    assert lab_of([1.0, 0.0, 0.0]) == pytest.approx([53.24, 80.09, 67.20], abs=0.02)


@pytest.mark.parametrize("n_phases", [4, 8, picture_colors.MOST])
def test_colours_of_a_picture_can_be_told_apart(rng, n_phases):
    table = list(phase_table())
    fixed = {phase.key for phase in table[:9]}
    for _ in range(20):
        chosen = [table[place] for place in rng.permutation(len(table))[:n_phases]]
        before = {phase.key: phase.color for phase in chosen}
        after = picture_colors.told_apart(before)
        assert list(after) == list(before)
        assert all(after[key] == before[key] for key in fixed & set(before))
        own = [key for key in after if key not in fixed]
        places = lab_of(list(after.values()))
        for key in own:
            others = np.array([other != key for other in after])
            assert difference(lab_of(after[key]), places[others]).min(initial=99.0) >= picture_colors.LEAST
            assert difference(lab_of(after[key]), lab_of([(1, 1, 1), (0, 0, 0)])).min() >= picture_colors.LEAST


def test_colours_that_are_far_apart_stay():
    table = phase_table()
    colors = {key: table.by_key(key).color for key in ("OMEGA", "HCP", "OTHER", "FCC")}
    assert picture_colors.told_apart(colors) == colors


def test_the_more_frequent_keeps_its_colour(rng):
    near = {"A": (0.8, 0.3, 0.2), "B": (0.8, 0.31, 0.2)}
    after = picture_colors.told_apart(near)
    assert after["A"] == near["A"]
    assert after["B"] != near["B"]


def test_rare_phases_are_grey_together(rng):
    keys = [phase.key for phase in phase_table()][: picture_colors.MOST + 3]
    frame = frame_of(0, **{key: 100 - place for place, key in enumerate(keys)})
    shares = picture_colors.shares_told_apart([frame])
    assert [share.color for share in shares[picture_colors.MOST :]] == 3 * [picture_colors.REST_COLOR]
    legend = picture_colors.legend_of([frame], {share.key: share.color for share in shares})
    assert [name for name, _ in legend] == [*keys[: picture_colors.MOST], picture_colors.REST]
    assert picture_colors.legend_of([frame_of(0, FCC=1)], {"FCC": (0, 1, 0), "HCP": (1, 0, 0)}) == [("FCC", (0, 1, 0))]


# ---------------------------------------------------------------- frames


def test_mixing_is_the_entropy():
    assert pictured_frames.mixing(frame_of(0, FCC=7)) == 0.0
    assert pictured_frames.mixing(frame_of(0, FCC=5, HCP=5)) == pytest.approx(np.log(2))
    assert pictured_frames.mixing(frame_of(0, FCC=1, HCP=1, BCC=2, SC=0)) == pytest.approx(1.5 * np.log(2))
    assert pictured_frames.mixing(frame_of(0)) == 0.0


def test_first_most_mixed_and_last():
    frames = [frame_of(k, FCC=100 - 10 * k, OTHER=10 * k) for k in range(11)]
    shown = pictured_frames.pictured(frames)
    assert [(summary.frame, role) for summary, role in shown] == [(0, "first"), (5, "most mixed"), (10, "last")]
    text = pictured_frames.explanation(frames, shown)
    assert "frame 5" in text
    assert "0.69, is the largest of the 11 frames" in text
    assert "the first frame (0) and the last frame (10)" in text


def test_frames_alike_are_shown_once():
    frames = [frame_of(k, FCC=50 + k % 2, OTHER=50 - k % 2) for k in range(5)]
    assert [(summary.frame, role) for summary, role in pictured_frames.pictured(frames)] == [(4, "most mixed")]
    pure = [frame_of(k, FCC=50) for k in range(3)]
    assert [(summary.frame, role) for summary, role in pictured_frames.pictured(pure)] == [(2, "last")]
    assert [role for _, role in pictured_frames.pictured(pure[:1])] == [""]
    assert pictured_frames.pictured([frame_of(0)]) == []


def test_caption_names_number_step_time_and_phases():
    lines = pictured_frames.caption(frame_of(3, 1.5, FCC=50, HCP=30, BCC=15, OTHER=5), "last").splitlines()
    assert lines == ["frame 3 (last), timestep 30, time 1.5", "FCC 50.0 %, HCP 30.0 %, BCC 15.0 %, 1 more"]


# ---------------------------------------------------------------- drawn without a renderer


def atoms_of(positions: np.ndarray, cell: np.ndarray | None = None, **phases: tuple[int, ...]) -> FrameAtoms:
    phase = np.zeros(len(positions), np.int32)
    kinds = []
    for key, members in phases.items():
        found = phase_table().by_key(key)
        phase[list(members)] = found.id
        kinds.append((found.id, key, found.color))
    return FrameAtoms(positions=positions.astype(np.float32), phase=phase, cell=cell, kinds=tuple(kinds))


def test_near_atoms_hide_far_ones_and_are_brighter():
    towards = axes()[2]
    frame = atoms_of(np.array([0 * towards, 10 * towards]), HCP=(0,), FCC=(1,))
    colors = colors_of(frame, {"FCC": (0.0, 1.0, 0.0), "HCP": (1.0, 0.0, 0.0)})
    view = view_of([frame])
    image = flat_picture(frame, colors, view)
    assert image.shape == (*view.size[::-1], 3)
    inked = (image < 250).any(axis=2)
    assert inked.any()
    assert (image[inked][:, 1] > image[inked][:, 0]).mean() > 0.98  # FCC in front, but for the rim
    beside = atoms_of(np.array([0 * towards, 10 * towards + 30 * axes()[0]]), FCC=(0, 1))
    image = flat_picture(beside, np.full((2, 3), 0.8), view_of([beside])).astype(int)
    left, right = np.split(image, 2, axis=1)
    near, far = (np.median(half[(half < 230).all(axis=2)]) for half in (right, left))
    assert near > 1.2 * far


def test_cell_is_drawn_where_no_atom_is_before_it(rng):
    cell = np.column_stack([np.diag([20.0, 10.0, 15.0]), [1.0, 2.0, 3.0]])
    empty = FrameAtoms(positions=np.zeros((0, 3), np.float32), phase=np.zeros(0, np.int32), cell=cell, kinds=())
    image = flat_picture(empty, np.zeros((0, 3)), view_of([empty]))
    dark = int((image < 200).any(axis=2).sum())
    assert dark > 500
    points = corners(cell)
    assert points.min(axis=0) == pytest.approx([1, 2, 3])
    assert points.max(axis=0) == pytest.approx([21, 12, 18])


def test_view_shows_all_atoms_of_all_frames(rng):
    frames = [atoms_of(scale * rng.normal(size=(50, 3)) + rng.normal(0, 5, 3), FCC=()) for scale in (1.0, 8.0, 3.0)]
    view = view_of(frames)
    half_width = view.half_height * view.size[0] / view.size[1]
    for frame in frames:
        right, up, _ = ((frame.positions - np.array(view.centre)) @ axes().T).T
        assert abs(right).max() < half_width
        assert abs(up).max() < view.half_height


@pytest.mark.parametrize("positions", [np.zeros((1, 3)), np.zeros((2, 3)), np.zeros((0, 3))])
def test_degenerate_frames_are_drawn(positions):
    frame = atoms_of(positions)
    assert flat_picture(frame, np.full((len(positions), 3), 0.5), view_of([frame])).any()
