"""How firmly the chapters stand: run them with other seeds and other kernels, and record what they assert.

    python tests/margins.py run --name old-cpu --seed 1 notebooks/01_vae.ipynb ...
    python tests/margins.py report notebooks/01_vae.ipynb ...

The first command executes chapters with ``SEED`` replaced, and every comparison in an ``assert`` evaluated and
recorded instead of enforced. The second one prints, over all recorded runs, what each asserted quantity was
beside its bound, and how far the printed numbers were from those in the file. Which kernels a run used is for
its environment to say (``make margins``). Records are in out/margins/.
"""

from __future__ import annotations

import argparse
import json
import math
import re
from pathlib import Path

import nbformat
from compare_numbers import Tolerance, differences
from nbclient import NotebookClient

ROOT = Path(__file__).parent.parent
RECORDS = ROOT / "out" / "margins"

# Run in the chapter's kernel before its first cell.
RECORDER = """
def __recorder():
    import ast, json, operator
    import numpy as np
    records, cell = [], [-1]
    symbols = {
        ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
        ast.In: "in", ast.NotIn: "not in", ast.Is: "is", ast.IsNot: "is not",
    }
    compare = {
        "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq,
        "!=": operator.ne, "in": lambda a, b: a in b, "not in": lambda a, b: a not in b,
        "is": operator.is_, "is not": operator.is_not,
    }

    def record(source, symbol, left, right):
        result = compare[symbol](left, right)
        entry = {"cell": cell[0], "source": source, "symbol": symbol, "holds": bool(np.all(result))}
        try:
            a, b = np.broadcast_arrays(np.asarray(left, dtype=float), np.asarray(right, dtype=float))
            room = {"<": b - a, "<=": b - a, ">": a - b, ">=": a - b}.get(symbol, -abs(a - b)).ravel()
            if room.size:
                worst = int(np.nanargmin(room))
                entry |= {"left": float(a.flat[worst]), "right": float(b.flat[worst])}
        except (TypeError, ValueError):
            pass
        records.append(entry)
        return result

    def chain(source, symbols, values):
        result = True
        for i, symbol in enumerate(symbols):
            one = record(source, symbol, values[i], values[i + 1])
            result = one if result is True else np.logical_and(result, one)
        return result

    def close(source, function, a, b, *args, **kwargs):
        try:
            x, y = np.asarray(a, float), np.asarray(b, float)
            rtol, atol = kwargs.get("rtol", args[0] if args else 1e-5), kwargs.get("atol", 1e-8)
            if function.__name__ == "isclose" and function.__module__ == "math":
                rtol, atol = kwargs.get("rel_tol", 1e-9), kwargs.get("abs_tol", 0.0)
            record(source, "<=", abs(x - y), atol + rtol * abs(y))
        except Exception:
            pass
        return function(a, b, *args, **kwargs)

    class Comparisons(ast.NodeTransformer):
        def visit_Compare(self, node):
            source = ast.unparse(node)
            self.generic_visit(node)
            symbol = [ast.Constant(symbols[type(op)]) for op in node.ops]
            values = ast.List([node.left, *node.comparators], ast.Load())
            return ast.Call(ast.Name("__chain", ast.Load()),
                            [ast.Constant(source), ast.List(symbol, ast.Load()), values], [])

        def visit_Call(self, node):
            source = ast.unparse(node)
            self.generic_visit(node)
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in ("allclose", "isclose") and len(node.args) >= 2:
                return ast.Call(ast.Name("__close", ast.Load()),
                                [ast.Constant(source), node.func, *node.args], node.keywords)
            return node

    class Asserts(ast.NodeTransformer):
        def visit_Assert(self, node):
            source = ast.unparse(node.test)
            test = Comparisons().visit(node.test)
            call = ast.Call(ast.Name("__result", ast.Load()), [ast.Constant(source), test], [])
            return ast.copy_location(ast.Expr(call), node)

        def visit_Module(self, node):
            cell[0] += 1
            return ast.fix_missing_locations(self.generic_visit(node))

    def result(source, value):
        if not value:
            records.append({"cell": cell[0], "source": source, "symbol": "assert", "holds": False})

    shell = get_ipython()
    shell.user_ns |= {"__chain": chain, "__close": close, "__result": result}
    shell.user_ns["__records"] = lambda: json.dumps(records)
    shell.ast_transformers.append(Asserts())
__recorder()
"""


def run(path: Path, name: str, seed: int) -> None:
    """Execute a chapter with another seed and write down its assertions and what its cells printed."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.source = re.sub(r"^SEED = (\d+)", lambda m: f"SEED = {int(m[1]) + seed}", cell.source, flags=re.M)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    before, after = nbformat.v4.new_code_cell(RECORDER), nbformat.v4.new_code_cell("print(__records())")
    notebook.cells = [before, *code, after]
    resources = {"metadata": {"path": str(path.parent)}}
    client = NotebookClient(notebook, timeout=1200, allow_errors=True, coalesce_streams=True, resources=resources)
    client.execute()
    errors = [(i, o.ename, o.evalue) for i, c in enumerate(code) for o in c.outputs if o.output_type == "error"]
    record = {"texts": [texts(c) for c in code], "asserts": json.loads("".join(texts(after))), "errors": errors}
    RECORDS.mkdir(parents=True, exist_ok=True)
    (RECORDS / f"{path.stem}.{name}.{seed}.json").write_text(json.dumps(record))


def texts(cell: nbformat.NotebookNode) -> list[str]:
    """Return the texts that a cell shows, figures and progress bars apart."""
    outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    shown = [output.get("text", output.get("data", {}).get("text/plain", "")) for output in outputs]
    return [text for text in shown if text and not text.startswith("<Figure")]


def report(path: Path) -> None:
    """Print, for every cell of a chapter, how far its numbers moved and what its assertions compared."""
    notebook = nbformat.read(path, as_version=4)
    records = sorted(RECORDS.glob(f"{path.stem}.*.json"))
    runs = {" ".join(record.name.split(".")[1:3]): json.loads(record.read_text()) for record in records}
    print(f"{path.stem}: {', '.join(runs)}")
    code = [(index, cell) for index, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    for number, (index, cell) in enumerate(code):
        for name, one in runs.items():
            for line in [repr(e) for n, *e in one["errors"] if n == number] + _moved(cell, one["texts"][number]):
                print(f"  [{index}] {name}: {line}")
        found = [(name, entry) for name, one in runs.items() for entry in one["asserts"] if entry["cell"] == number]
        for line in _compared(found):
            print(f"  [{index}] {line}")


def _moved(cell: nbformat.NotebookNode, found: list[str]) -> list[str]:
    """Say what differs from the text in the file by more than the cell's tolerance."""
    expected, tolerance = texts(cell), Tolerance(cell.metadata.get("tags", ()))
    if len(expected) != len(found):
        return [f"{len(found)} outputs instead of {len(expected)}"]
    return [line for pair in zip(expected, found) for line in differences(*pair, tolerance)]


def _compared(found: list[tuple[str, dict]]) -> list[str]:
    """Return a line for each comparison: its two sides where they were closest, in every run."""
    lines: dict[str, dict[str, dict]] = {}
    for name, entry in found:
        worst = lines.setdefault(f"{entry['source'][:110]} ({entry['symbol']})", {})
        if name not in worst or _room(entry) < _room(worst[name]):
            worst[name] = entry
    shown = []
    for line, worst in lines.items():
        failed = [name for name, entry in worst.items() if not entry["holds"]]
        sides = [f"{e['left']:.4g} {e['right']:.4g}" for e in worst.values() if "left" in e]
        shown.append(f"{line}: {'; '.join(sides)}" + f" FAILS in {', '.join(failed)}" * bool(failed))
    return shown


def _room(entry: dict) -> float:
    """Return how much is left before a comparison fails; below 0 where it did."""
    if "left" not in entry or entry["symbol"][0] not in "<>":
        return 0.0 if entry["holds"] else -math.inf
    return (entry["right"] - entry["left"]) * (1 if entry["symbol"][0] == "<" else -1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["run", "report"])
    parser.add_argument("notebooks", nargs="+", type=Path)
    parser.add_argument("--name", default="here", help="what to call the kernels of this run")
    parser.add_argument("--seed", type=int, default=0, help="added to the chapter's own")
    arguments = parser.parse_args()
    for chapter in arguments.notebooks:
        if arguments.action == "run":
            run(chapter, arguments.name, arguments.seed)
        else:
            report(chapter)
