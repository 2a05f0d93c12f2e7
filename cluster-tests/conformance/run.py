"""Asks an S3 server what S3 users ask, case by case, and compares with what AWS answers.

    run.py [--redoubt PROGRAM] [--json FILE] [--jobs N] [--list] [AREA | AREA:WORDS]...

With --redoubt a cluster is started on this machine and stopped at the end. Else the endpoint comes from the environment: S3_ENDPOINT (or
several, with commas), S3_ACCESS_KEY, S3_SECRET_KEY, S3_REGION, S3_ALT_ACCESS_KEY, S3_ALT_SECRET_KEY of another user, and S3_TARGET, whom events may be told to. A case is a function of a module of `areas/`; its name is a sentence. What is known to fail is in `expected-failures.txt`, with
a reason each. The run fails where a case fails that is not there, and where one that is there passes, so that the list stays true.
"""

import argparse
import collections
import concurrent.futures
import contextlib
import importlib
import json
import logging
import pathlib
import sys
import time
import traceback

from botocore.exceptions import ClientError

from local import cluster
from world import Case, NotSupported, Wrong, error_of, server_of_environment

HERE = pathlib.Path(__file__).parent
AREAS = sorted(path.stem for path in (HERE / "areas").glob("*.py") if path.stem != "__init__")


def collected(wanted):
    """The cases that are meant: `(area, sentence, function)`."""
    cases = []
    for area in AREAS:
        module = importlib.import_module(f"areas.{area}")
        for name, value in vars(module).items():
            if callable(value) and getattr(value, "__module__", "") == module.__name__ and not name.startswith("_"):
                cases.append((area, name.replace("_", " "), value))
    words = [one.partition(":") for one in wanted]
    known = {area for area, _, _ in cases}
    for area, _, _ in words:
        if area not in known:
            sys.exit(f"there is no area {area}: {', '.join(sorted(known))}")
    return [case for case in cases if not words or any(case[0] == area and text in case[1] for area, _, text in words)]


def expected():
    """The cases that are known to fail: `area | case | reason` in a line."""
    lines = (HERE / "expected-failures.txt").read_text().splitlines()
    rows = [[part.strip() for part in line.split("|")] for line in lines if line.strip() and not line.startswith("#")]
    bad = [row for row in rows if len(row) != 3 or not all(row)]
    if bad:
        sys.exit(f"expected-failures.txt: not `area | case | reason`: {bad[0]}")
    return {(area, case): reason for area, case, reason in rows}


def run(server, function):
    """Runs one case: outcome and why."""
    case = Case(server)
    try:
        function(case)
        return "passed", ""
    except NotSupported as error:
        return "not supported", str(error)
    except Wrong as error:
        return "failed", str(error)
    except ClientError as error:
        return ("not supported" if error_of(error)[0] == 501 else "failed"), str(error)
    except Exception as error:  # The case's own mistake is a failure like any other.
        where = traceback.extract_tb(error.__traceback__)[-1]
        return "failed", f"{type(error).__name__}: {error} ({pathlib.Path(where.filename).name}:{where.lineno})"
    finally:
        try:
            case.clean()
        except Exception as error:
            print(f"# not cleaned up: {error}")


def verdict(outcome, is_expected):
    """What is wrong about an outcome."""
    if outcome == "passed":
        return "passes, but is on the list of expected failures" if is_expected else None
    return None if is_expected else outcome


def main():
    """Runs the cases and tells."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--redoubt", help="the program that starts a cluster for the run")
    parser.add_argument("--json", help="write the outcomes to this file")
    parser.add_argument("--jobs", type=int, default=8, help="cases at once")
    parser.add_argument("--list", action="store_true", help="only name the cases")
    parser.add_argument("wanted", nargs="*")
    arguments = parser.parse_args()
    cases, known = collected(arguments.wanted), expected()
    if arguments.list:
        print("\n".join(f"{area}, {sentence}" for area, sentence, _ in cases))
        return
    strangers = set(known) - {(area, sentence) for area, sentence, _ in collected([])}
    if strangers:
        sys.exit(f"expected-failures.txt names what is no case: {sorted(strangers)}")
    # Answers that a case breaks on purpose are no news.
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    with cluster(arguments.redoubt) if arguments.redoubt else contextlib.nullcontext(server_of_environment()) as server:
        rows = judged(server, cases, known, arguments.jobs)
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(rows, indent=1) + "\n")
    if any(row["wrong"] for row in rows):
        sys.exit(1)


def judged(server, cases, known, jobs):
    """Runs all cases; says what came of each."""
    rows, began = [], time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        futures = [(area, sentence, pool.submit(timed, server, function)) for area, sentence, function in cases]
        for area, sentence, future in futures:
            outcome, why, seconds = future.result()
            reason = known.get((area, sentence))
            wrong = verdict(outcome, reason is not None)
            rows.append({"area": area, "case": sentence, "outcome": outcome, "why": why, "expected": reason, "wrong": wrong, "seconds": seconds})
            print(f"{area}, {sentence}, {outcome}" + (f"   # {why}" if why else ""), flush=True)
    tell(rows, time.monotonic() - began)
    return rows


def timed(server, function):
    """An outcome with its time."""
    began = time.monotonic()
    outcome, why = run(server, function)
    return outcome, why, round(time.monotonic() - began, 2)


def tell(rows, seconds):
    """The table of areas, and what is wrong."""
    areas = collections.defaultdict(collections.Counter)
    for row in rows:
        areas[row["area"]][row["outcome"]] += 1
    print(f"\n{'area':<14}{'passed':>8}{'failed':>8}{'not supported':>15}")
    for area, counts in areas.items():
        print(f"{area:<14}{counts['passed']:>8}{counts['failed']:>8}{counts['not supported']:>15}")
    total = collections.Counter(row["outcome"] for row in rows)
    print(f"{'all':<14}{total['passed']:>8}{total['failed']:>8}{total['not supported']:>15}   in {seconds:.0f} s")
    wrong = [row for row in rows if row["wrong"]]
    for row in wrong:
        print(f"WRONG {row['area']}, {row['case']}: {row['wrong']}   # {row['why']}")
    print(f"{len(wrong)} not as expected")


if __name__ == "__main__":
    main()
