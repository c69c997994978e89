"""The materials of the sample frames and melts: potential, crystal, melting temperature, time step."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import crystals
from ase import Atoms
from lammps_md import Potential

_NIAL = Potential(
    style="eam/alloy",
    file="NiAlH_jea.eam.alloy",
    elements=("Ni", "Al"),
    citation="Angelo, Moody, Baskes, Modelling Simul. Mater. Sci. Eng. 3, 289 (1995)",
)
_TERSOFF_CITATION = "Tersoff, Phys. Rev. B 39, 5566 (1989)"


@dataclass(frozen=True, kw_only=True)
class Material:
    """What is needed to run one crystal and its melt.

    `melting` is the melting temperature in K: that of the potential where it is published, else that of the
    experiment or, for potentials far from the experiment, the highest temperature the crystal was seen to bear.
    `atoms` builds a block of some 500 atoms; `phase` is its key in the phase table; below `coldest` and above `hottest`
    times the melting temperature the crystal does not last.
    """

    name: str
    phase: str
    potential: Potential
    atoms: Callable[[], Atoms]
    melting: float
    timestep: float = 0.002
    coldest: float = 0.0
    hottest: float = 1.0


def _eam(style: str, file: str, elements: tuple[str, ...], citation: str) -> Potential:
    return Potential(style=style, file=file, elements=elements, citation=citation)


def _tosi_fumi(elements: tuple[str, str], rho: float, lines: tuple[str, ...]) -> Potential:
    """Return a Born-Mayer-Huggins potential; a line holds A (eV), sigma (A), C (eV A^6) and -D (eV A^8) of a pair."""
    coeffs = []
    for pair, line in zip(("1 1", "1 2", "2 2"), lines, strict=True):
        strength, rest = line.split(maxsplit=1)
        coeffs.append(f"{pair} {strength} {rho} {rest}")
    return Potential(
        style="born/coul/long 9.0",
        file="",
        elements=elements,
        citation="Fumi, Tosi, J. Phys. Chem. Solids 25, 31 and 45 (1964)",
        coeffs=tuple(coeffs),
        charges=(1.0, -1.0),
    )


_ALL = (
    Material(
        name="Cu",
        phase="FCC",
        potential=_eam("eam/alloy", "Cu_mishin1.eam.alloy", ("Cu",), "Mishin et al., Phys. Rev. B 63, 224106 (2001)"),
        atoms=lambda: crystals.cubic(("Cu",), "fcc", 3.615, (5, 5, 5)),
        melting=1327,
    ),
    Material(
        name="Al",
        phase="FCC",
        potential=_eam("eam/fs", "Al_mm.eam.fs", ("Al",), "Mendelev et al., Philos. Mag. 88, 1723 (2008)"),
        atoms=lambda: crystals.cubic(("Al",), "fcc", 4.05, (5, 5, 5)),
        melting=926,
    ),
    Material(
        name="Fe",
        phase="BCC",
        potential=_eam("eam/fs", "Fe_mm.eam.fs", ("Fe",), "Mendelev et al., Philos. Mag. 83, 3977 (2003)"),
        atoms=lambda: crystals.cubic(("Fe",), "bcc", 2.855, (6, 6, 7)),
        melting=1772,
    ),
    Material(
        name="W",
        phase="BCC",
        potential=_eam(
            "eam/alloy", "W_zhou.eam.alloy", ("W",), "Zhou, Johnson, Wadley, Phys. Rev. B 69, 144113 (2004)"
        ),
        atoms=lambda: crystals.cubic(("W",), "bcc", 3.165, (6, 6, 7)),
        melting=3695,
    ),
    Material(
        name="Mg",
        phase="HCP",
        potential=_eam("eam/fs", "Mg_mm.eam.fs", ("Mg",), "Sun et al., Phys. Rev. B 73, 024116 (2006)"),
        atoms=lambda: crystals.hcp("Mg", 3.21, 5.21, (7, 4, 5)),
        melting=914,
    ),
    Material(
        name="Zr",
        phase="HCP",
        potential=_eam("eam/fs", "Zr_mm.eam.fs", ("Zr",), "Mendelev, Ackland, Philos. Mag. Lett. 87, 349 (2007)"),
        atoms=lambda: crystals.hcp("Zr", 3.23, 5.17, (7, 4, 5)),
        melting=2109,
    ),
    Material(
        name="Ti",
        phase="HCP",
        potential=Potential(
            style="meam/spline",
            file="Ti.meam.spline",
            elements=("Ti",),
            citation="Hennig et al., Phys. Rev. B 78, 054121 (2008)",
        ),
        atoms=lambda: crystals.hcp("Ti", 2.95, 4.68, (6, 4, 4)),
        melting=1900,
    ),
    Material(
        name="Si",
        phase="CUBIC_DIAMOND",
        potential=Potential(
            style="sw", file="Si.sw", elements=("Si",), citation="Stillinger, Weber, Phys. Rev. B 31, 5262 (1985)"
        ),
        atoms=lambda: crystals.cubic(("Si",), "diamond", 5.431, (4, 4, 4)),
        melting=1691,
    ),
    Material(
        name="Ge",
        phase="CUBIC_DIAMOND",
        potential=Potential(
            style="sw",
            file="",
            elements=("Ge",),
            citation="Ding, Andersen, Phys. Rev. B 34, 6987 (1986)",
            text="Ge Ge Ge 1.93 2.181 1.80 31.0 1.20 -0.333333333333 7.049556277 0.6022245584 4.0 0.0 0.0\n",
        ),
        atoms=lambda: crystals.cubic(("Ge",), "diamond", 5.657, (4, 4, 4)),
        melting=2885,
    ),
    Material(
        name="SiO2",
        phase="BETA_CRISTOBALITE",
        potential=Potential(
            style="vashishta",
            file="SiO.1990.vashishta",
            elements=("Si", "O"),
            citation="Vashishta et al., Phys. Rev. B 41, 12197 (1990)",
        ),
        atoms=lambda: crystals.cristobalite(7.16, (3, 3, 3)),
        melting=2500,
        timestep=0.001,
    ),
    Material(
        name="quartz",
        phase="ALPHA_QUARTZ",
        potential=Potential(
            style="vashishta",
            file="SiO.1990.vashishta",
            elements=("Si", "O"),
            citation="Vashishta et al., Phys. Rev. B 41, 12197 (1990)",
        ),
        atoms=lambda: crystals.alpha_quartz(4.91, 5.40, (4, 2, 4)),
        melting=1983,
        timestep=0.001,
        hottest=0.3,  # then beta
    ),
    Material(
        name="Li",
        phase="BCC",
        potential=Potential(
            style="snap",
            file="Li_Zuo_JPCA2020.snap",
            elements=("Li",),
            citation="Zuo et al., J. Phys. Chem. A 124, 731 (2020)",
            coeffs=("* * {file}coeff {file}param {elements}",),
        ),
        atoms=lambda: crystals.cubic(("Li",), "bcc", 3.45, (5, 5, 5)),
        melting=454,
    ),
    Material(
        name="NaCl",
        phase="ROCKSALT",
        potential=_tosi_fumi(
            ("Na", "Cl"),
            0.317,
            ("0.26371 2.340 1.0486 -0.4993", "0.21096 2.755 6.9905 -8.6757", "0.15822 3.170 72.402 -145.43"),
        ),
        atoms=lambda: crystals.cubic(("Na", "Cl"), "rocksalt", 5.64, (4, 4, 4)),
        melting=1074,
    ),
    Material(
        name="KCl",
        phase="ROCKSALT",
        potential=_tosi_fumi(
            ("K", "Cl"),
            0.337,
            ("0.26371 2.926 15.167 -14.980", "0.21096 3.048 29.959 -45.563", "0.15822 3.170 77.707 -156.04"),
        ),
        atoms=lambda: crystals.cubic(("K", "Cl"), "rocksalt", 6.29, (4, 4, 4)),
        melting=1044,
    ),
    Material(
        name="NiAl",
        phase="CSCL",
        potential=_NIAL,
        atoms=lambda: crystals.cubic(("Ni", "Al"), "cesiumchloride", 2.88, (6, 6, 7)),
        melting=1500,
    ),
    Material(
        name="Ni3Al",
        phase="L1_2",
        potential=_NIAL,
        atoms=lambda: crystals.l1_2(("Ni", "Al"), 3.57, (5, 5, 5)),
        melting=1660,
    ),
    Material(
        name="CuZr",
        phase="CSCL",
        potential=_eam(
            "eam/fs", "CuZr_mm.eam.fs", ("Cu", "Zr"), "Mendelev, Sordelet, Kramer, J. Appl. Phys. 102, 043501 (2007)"
        ),
        atoms=lambda: crystals.cubic(("Cu", "Zr"), "cesiumchloride", 3.27, (6, 6, 7)),
        melting=1300,
    ),
    Material(
        name="SiC",
        phase="ZINCBLENDE",
        potential=Potential(style="tersoff", file="SiC.tersoff", elements=("Si", "C"), citation=_TERSOFF_CITATION),
        atoms=lambda: crystals.cubic(("Si", "C"), "zincblende", 4.32, (4, 4, 4)),
        melting=3200,
        timestep=0.001,
    ),
    Material(
        name="GaN",
        phase="WURTZITE",
        potential=Potential(
            style="sw",
            file="GaN.sw",
            elements=("Ga", "N"),
            citation="Bere, Serra, Phys. Rev. B 65, 205323 (2002)",
        ),
        atoms=lambda: crystals.wurtzite(("Ga", "N"), 3.19, 5.2, (6, 4, 3)),
        melting=2700,
        timestep=0.001,
    ),
)
_FOILES = "Foiles, Baskes, Daw, Phys. Rev. B 33, 7983 (1986)"


def _foiles(element: str, a: float, melting: float) -> Material:
    return Material(
        name=element,
        phase="FCC",
        potential=Potential(
            style="eam", file=f"{element}_u3.eam", elements=(element,), citation=_FOILES, coeffs=("1 1 {file}",)
        ),
        atoms=lambda: crystals.cubic((element,), "fcc", a, (5, 5, 5)),
        melting=melting,
    )


_TRAINING = (
    _foiles("Ni", 3.52, 1700),
    _foiles("Ag", 4.09, 1170),
    _foiles("Au", 4.08, 1120),
    _foiles("Pd", 3.89, 1390),
    _foiles("Pt", 3.92, 1480),
    Material(
        name="V",
        phase="BCC",
        potential=_eam("eam/fs", "VFe_mm.eam.fs", ("V",), "Mendelev et al., Phys. Rev. B 76, 214105 (2007)"),
        atoms=lambda: crystals.cubic(("V",), "bcc", 3.03, (6, 6, 7)),
        melting=2100,
    ),
    Material(
        name="Ta",
        phase="BCC",
        potential=_eam("eam/alloy", "CuTa.eam.alloy", ("Ta",), "Zhou, Johnson, Wadley, Phys. Rev. B 69, 144113 (2004)"),
        atoms=lambda: crystals.cubic(("Ta",), "bcc", 3.303, (6, 6, 7)),
        melting=3100,
    ),
    Material(
        name="Co",
        phase="HCP",
        potential=_eam("eam/alloy", "CoAl.eam.alloy", ("Co",), "Vailhe, Farkas, J. Mater. Res. 12, 2559 (1997)"),
        atoms=lambda: crystals.hcp("Co", 2.51, 4.07, (7, 4, 5)),
        melting=1700,
    ),
    Material(
        name="CdTe",
        phase="ZINCBLENDE",
        potential=Potential(
            style="sw",
            file="CdTe.sw",
            elements=("Cd", "Te"),
            citation="Wang, Stroud, Markworth, Phys. Rev. B 40, 3129 (1989)",
        ),
        atoms=lambda: crystals.cubic(("Cd", "Te"), "zincblende", 6.48, (4, 4, 4)),
        melting=1300,
    ),
)
_BY_NAME = {material.name: material for material in (*_ALL, *_TRAINING)}


def _variant(name: str, parent: str, **changes: Any) -> Material:
    return dataclasses.replace(_BY_NAME[parent], name=name, **changes)


_VARIANTS = (
    _variant("Ti-beta", "Ti", phase="BCC", atoms=lambda: crystals.cubic(("Ti",), "bcc", 3.28, (6, 6, 7)), coldest=0.7),
    _variant(  # the bcc crystal of this potential does not bear 1700 K
        "Zr-beta",
        "Zr",
        phase="BCC",
        atoms=lambda: crystals.cubic(("Zr",), "bcc", 3.57, (6, 6, 7)),
        melting=1550,
        coldest=0.7,
    ),
    _variant(
        "CoAl",
        "NiAl",
        potential=_eam("eam/alloy", "CoAl.eam.alloy", ("Co", "Al"), "Vailhe, Farkas, J. Mater. Res. 12, 2559 (1997)"),
        atoms=lambda: crystals.cubic(("Co", "Al"), "cesiumchloride", 2.86, (6, 6, 7)),
        melting=1600,
    ),
    _variant(
        "Si-EDIP",
        "Si",
        potential=Potential(
            style="edip", file="Si.edip", elements=("Si",), citation="Justo et al., Phys. Rev. B 58, 2539 (1998)"
        ),
        melting=1550,
    ),
    _variant(
        "Si-Tersoff",
        "Si",
        potential=Potential(style="tersoff", file="SiC.tersoff", elements=("Si",), citation=_TERSOFF_CITATION),
        melting=2400,
        timestep=0.001,
    ),
    _variant("Zr-hot", "Zr", melting=1500, coldest=0.7),  # hcp, above its range of stability
    _variant(
        "FeAl",
        "NiAl",
        potential=_eam("eam/fs", "AlFe_mm.eam.fs", ("Fe", "Al"), "Mendelev et al., J. Mater. Res. 20, 208 (2005)"),
        atoms=lambda: crystals.cubic(("Fe", "Al"), "cesiumchloride", 2.9, (6, 6, 7)),
        melting=1500,
    ),
    _variant(
        "VFe",
        "NiAl",
        potential=_eam("eam/fs", "VFe_mm.eam.fs", ("V", "Fe"), "Mendelev et al., Phys. Rev. B 76, 214105 (2007)"),
        atoms=lambda: crystals.cubic(("V", "Fe"), "cesiumchloride", 2.92, (6, 6, 7)),
        melting=1700,
    ),
    _variant(
        "Ag-hcp",
        "Ag",
        phase="HCP",
        atoms=lambda: crystals.hcp("Ag", 2.89, 4.72, (7, 4, 5)),
    ),
    _variant(
        "Ni-hcp",
        "Ni",
        phase="HCP",
        atoms=lambda: crystals.hcp("Ni", 2.49, 4.06, (7, 4, 5)),
    ),
    _variant(
        "C",
        "SiC",
        phase="CUBIC_DIAMOND",
        potential=Potential(style="tersoff", file="SiC.tersoff", elements=("C",), citation=_TERSOFF_CITATION),
        atoms=lambda: crystals.cubic(("C",), "diamond", 3.57, (4, 4, 4)),
        melting=4500,
    ),
)
"""Materials whose hot crystals train; those of `_ALL` and Ti-beta test."""
MATERIALS: dict[str, Material] = _BY_NAME | {material.name: material for material in _VARIANTS}
