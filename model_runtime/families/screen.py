"""What `check` found, on one screen. Pure."""

from __future__ import annotations

from model_runtime.families.check import FolderReport
from model_runtime.families.memory import CARDS, GIB


def screen(report: FolderReport) -> str:
    """Lines for people; the same as JSON is `FolderReport.as_document`."""
    lines = [f"folder      {report.folder}"]
    if report.family is not None:
        quantized = f", {report.quantization}" if report.quantization else ""
        lines += [f"family      {report.family.name} ({report.family.title}): takes {report.family.spoken}"]
        lines += [f"class       {report.architecture}{quantized}"]
    elif report.architecture:
        lines.append(f"class       {report.architecture}")
    if report.parameters:
        lines.append(f"weights     {report.parameters:,} parameters, {_size(report.stored_bytes)} on the disk")
    if report.digest:
        lines.append(f"digest      {report.digest}")
    if report.release:
        lines.append(f"release     {report.release}")
    if report.memory:
        lines += ["", f"memory for one request of {report.longest_request:,} tokens (vLLM itself comes on top):"]
        lines.append(f"  {'':<10} {'weights':>10} {'+ keys, values':>15} {'+ encoder':>10} {'= in all':>10}")
        lines += [
            f"  {width:<10} {_size(m.weights):>10} {_size(m.keys_values):>15} {_size(m.encoder):>10} {_size(m.total):>10}"
            for width, m in report.memory.items()
        ]
    if report.cards:
        lines += ["", "longest request in tokens on one GPU of so many GiB (-: not one study):"]
        lines.append(f"  {'':<10}" + "".join(f" {card:>9}" for card in CARDS))
        lines += [
            f"  {width:<10}" + "".join(f" {fits.get(card, '-'):>9}" for card in CARDS)
            for width, fits in report.cards.items()
        ]
    lines += ["", "can be served" if report.servable else "CANNOT be served:"]
    return "\n".join([*lines, *(f"  - {problem.sentence}" for problem in report.problems)])


def _size(count: int) -> str:
    return f"{count / GIB:.2f} GiB" if count >= GIB // 10 else f"{count / 1024**2:.2f} MiB"
