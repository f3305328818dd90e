"""Publish a trained model on the Hugging Face hub, with a card of how it was made.

    python -m training.publish RUN/model owner/name --scores TABLES

The card is made of the recipe and the fingerprints that export has left in the model, and of the
tables of `python -m ccsr evaluate --output TABLES`.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from ccsr.errors import InputError, reason_of
from ccsr.inference.hub import MODEL_INDEX, json_object
from ccsr.program import exit_code, program
from ccsr.whole_file import write_whole
from training.export import ORIGIN_OF_MODEL

CARD = "README.md"


def push_to_hub(
    model: Path,
    repository: str,
    *,
    scores: Path | None = None,
    licence: str | None = None,
    private: bool = False,
) -> str:
    """Upload a model folder; a card is written into it, unless it has one.

    Args:
        model: A folder that export has written.
        repository: "owner/name"; it is made if it does not exist.
        scores: Output folder of `ccsr evaluate`, whose tables become part of the card.
        licence: The hub's identifier of the licence of the weights, such as "openrail++".
        private: Whether a new repository is private.

    Returns:
        The address of the commit.

    Raises:
        InputError: If it is no model of a training, there are no tables in `scores`, or the hub
            refuses; nothing is uploaded then.
    """
    if not (model / MODEL_INDEX).is_file():
        raise InputError(f"{model} holds no {MODEL_INDEX}; give a folder that export has written")
    tables = _tables(scores) if scores is not None else []
    if not (model / CARD).exists():
        write_whole(model / CARD, model_card(model, repository, tables, licence))
    api = HfApi()
    try:
        api.create_repo(repository, private=private, exist_ok=True)
        commit = api.upload_folder(repo_id=repository, folder_path=model)
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise InputError(
            f"{repository} could not be written to ({reason_of(error)}); log in with "
            "`hf auth login` or set HF_TOKEN, and check the name"
        ) from error
    return str(commit)


def model_card(
    model: Path, repository: str, tables: Sequence[str] = (), licence: str | None = None
) -> str:
    """A model card in Markdown: how the model is used, its scores, and how it was made.

    Args:
        model: A folder that export has written.
        repository: Where it is published.
        tables: Tables of scores, in Markdown.
        licence: See `push_to_hub`.

    Raises:
        InputError: If export has not left its origin in the folder.
    """
    path = model / ORIGIN_OF_MODEL
    if not path.is_file():
        raise InputError(f"{model} holds no {ORIGIN_OF_MODEL}; export writes it, so export anew")
    made = json_object(path)
    front = ["library_name: diffusers", "pipeline_tag: image-to-image"]
    front += [f"license: {licence}"] if licence else []
    front += ["tags:", "  - super-resolution", "  - diffusion", "  - ccsr"]
    fingerprints = [f"| {step} | `{digest}` |" for step, digest in made["fingerprints"].items()]
    sections = [
        "\n".join(["---", *front, "---"]),
        f"# {repository.rpartition('/')[2]}",
        "A model for super-resolution with CCSR "
        f"([arXiv 2401.00877](https://arxiv.org/abs/2401.00877)), variants {made['variants']}.",
        f"```sh\npython -m ccsr upscale photo.jpg --output results --model {repository}\n```",
    ]
    if tables:
        sections += ["## Scores", *tables]
    sections += [
        "## Training",
        "Trained by `python -m training` with this recipe:",
        f"```json\n{json.dumps(made['recipe'], indent=1)}\n```",
        "SHA-256 of what each step was computed from:",
        "\n".join(["| step | fingerprint |", "|---|---|", *fingerprints]),
    ]
    return "\n\n".join(sections) + "\n"


def _tables(scores: Path) -> list[str]:
    paths = sorted(scores.glob("*.md"))
    if not paths:
        raise InputError(f"{scores} holds no tables (*.md); give the output of `ccsr evaluate`")
    return [path.read_text(encoding="utf-8").strip() for path in paths]


def main(arguments: Sequence[str] | None = None) -> int:
    """Publish; the exit code is 0, or 2 after a bad input."""
    parser = program("python -m training.publish", __doc__)
    parser.add_argument("model", type=Path, help="folder that export has written")
    parser.add_argument("repository", help="owner/name")
    parser.add_argument("--scores", type=Path, help="output folder of `ccsr evaluate`")
    parser.add_argument("--licence", help="the hub's name of the licence of the weights")
    parser.add_argument("--private", action="store_true", help="make a new repository private")
    options = parser.parse_args(arguments)
    return exit_code(parser.prog, lambda: publish(options))


def publish(options: argparse.Namespace) -> None:
    """Publish, and print the address of the commit."""
    print(
        push_to_hub(
            options.model,
            options.repository,
            scores=options.scores,
            licence=options.licence,
            private=options.private,
        )
    )


if __name__ == "__main__":
    sys.exit(main())
