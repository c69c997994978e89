"""Labelled extended XYZ files as OVITO before 3.17 writes them: names of phases in a column declared as integers."""

from __future__ import annotations

from ase.io import read

from ovito_mace_phase.trajectory.labelled_frame import declare_names

COLUMNS = "species:S:1:pos:R:3:Phase:{0}:1:Confidence:R:1:PhaseBeforeDenoising:{0}:1"
TEXT = '2\nLattice="9 0 0 0 9 0 0 0 9" Properties={}\nCu 0 0 0 FCC 0.99 HCP\nNi 1.5 2 2 Other 0.5 Phase:I:1\n'


def test_phases_are_declared_as_text(tmp_path):
    file = tmp_path / "old.xyz"
    for written in ("I", "S"):  # before 3.17 and since
        number, comment, atoms = TEXT.format(COLUMNS.format(written)).encode().split(b"\n", 2)
        file.write_bytes(b"\n".join((number, declare_names(comment), atoms)))
        assert file.read_text() == TEXT.format(COLUMNS.format("S"))
        atoms = read(file)
        assert atoms.arrays["Phase"].tolist() == ["FCC", "Other"]
        assert atoms.arrays["PhaseBeforeDenoising"].tolist() == ["HCP", "Phase:I:1"]
