"""A script as users of version 0.1.0 wrote it: positional arguments, the names of that time. Prints what it finds."""

import json
import warnings

import numpy as np
from ovito.io import import_file

from ovito_mace_phase import MacePhaseModifier, PhaseModel, PhaseResult, classify, classify_trajectory, phase_table

warnings.simplefilter("ignore", DeprecationWarning)
DUMPS = "../../../sample_dumps/"
found = {}


def told(result):
    assert isinstance(result, PhaseResult)
    return {
        "counts": result.counts(),
        "fcc": result.fractions().get("FCC", 0.0),
        "confidence": float(result.confidence.mean()),
        "margin": float(np.clip(result.margin, 0, 100).mean()),
        "phase of each atom": result.phase.tolist(),
    }


data = import_file(DUMPS + "ni3al.dump.gz").compute(1)
positions, types = np.array(data.particles.positions), np.array(data.particles.particle_types)
cell, pbc = np.array(data.cell)[:, :3].T, data.cell.pbc

model = PhaseModel.load(device="cpu")
found["default"] = told(classify(positions, types, cell, pbc, model=model))
merged = classify(
    positions, types, cell, pbc, model=model, species_spec="ignore", length_scale=2.3, prior="frame", threshold=0.6,
    phases=["FCC", "HCP", "BCC"], order_parameters=["BCC"],
)  # fmt: skip
found["merged"] = told(merged) | {
    "phases": [phase.key for phase in merged.phases],
    "logits": np.abs(merged.logits).mean(0).tolist(),
    "bcc": float(merged.order_parameter("BCC").mean()),
}
data = import_file(DUMPS + "cu_hot.dump.gz").compute()
positions, cell = np.array(data.particles.positions), np.array(data.cell)[:, :3].T
slab = positions[:, 2] < 14
denoised = classify(positions[slab], None, cell, [True, True, False], model=model, prior="uniform", denoise_steps=2)
found["denoised"] = told(denoised) | {
    "before": denoised.before.counts(),
    "steps": [step.log_density for step in denoised.denoised.steps],
    "rms": float(np.sqrt((denoised.denoised.displacement**2).sum(1).mean())),
    "atoms": len(denoised.denoised.frame.positions),
}

own = classify(positions, None, cell, True, model="own_model")
found["own model"] = told(own) | {"t_carbon": float(own.order_parameter("T_CARBON").mean())}

pipeline = import_file(DUMPS + "nacl_hot.dump.gz")
pipeline.modifiers.append(MacePhaseModifier(model_file="own_model", confidence_threshold=0.9, order_parameters="FCC"))
data = pipeline.compute()
found["own model in OVITO"] = {
    "rocksalt": data.attributes["MacePhase.counts.ROCKSALT"],
    "model": data.attributes["MacePhase.model"],
    "confidence": float(data.particles["Confidence"][...].mean()),
    "fcc": float(data.particles["OP_FCC"][...].mean()),
}

result = classify_trajectory(DUMPS + "cu_melting.dump.gz", frames="0::5", model_file="own_model", prior="uniform")
found["trajectory"] = [{share.key: share.count for share in frame.shares} for frame in result.frames]
found["table"] = [phase_table().by_key("OMEGA").id, phase_table().by_id(1).name]
print(json.dumps(found))
