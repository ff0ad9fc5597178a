#!/usr/bin/env python3
"""Replays recorded cases against a server once and judges every step at two levels.

The player itself lies beside the recordings (`replay.py`); this adds what a developer's loop needs: both levels in
one pass, and less patience with what is not served yet.

usage: golden.py --url URL --ca FILE --cert FILE --key FILE [--mode api] [--only PATTERN] [--patience SECONDS] CASES
prints per group `-- group: LEVEL1 LEVEL2 STEPS SECONDS`, and the differences of every step that fails at level 2.
"""
import argparse, fnmatch, importlib.util, json, os, sys, time


def load_player(cases):
    path = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(cases))), 'replay.py')
    spec = importlib.util.spec_from_file_location('replay', path)
    sys.dont_write_bytecode = True
    player = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(player)
    return player, os.path.join(os.path.dirname(path), 'allow.txt')


def differences(player, allow, name, wanted, got, level):
    found = player.diff(player.view(wanted, level), player.view(got, level))
    return [one for one in found if not player.allowed(allow, name, one[0])]


def play(player, runner, name, steps, patience):
    """Yields each step with what was answered, or the exception that came instead."""
    for step in steps:
        if 'until' in step:
            step['until']['timeout'] = min(step['until'].get('timeout', 20), patience)
        started = time.time()
        try:
            yield step, runner.step(step), time.time() - started
        except Exception as error:
            yield step, error, time.time() - started


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ('url', 'ca', 'cert', 'key'):
        parser.add_argument('--' + name, required=True)
    parser.add_argument('--mode', default='api')
    parser.add_argument('--only', default='*')
    parser.add_argument('--patience', type=float, default=20)
    parser.add_argument('--differences', type=int, default=20, help='how many are told of a step')
    parser.add_argument('cases')
    options = parser.parse_args()
    player, allow = load_player(options.cases)
    allow = player.load_allow(allow)
    client = player.Client(options.url, options.ca, options.cert, options.key)
    group = player.load(options.cases)
    passed, total, began = [0, 0], 0, time.time()
    for case in group['cases']:
        name = group['group'] + '/' + case['case']
        if not fnmatch.fnmatchcase(name, options.only):
            continue
        total += len(case['steps'])
        mode = group.get('mode', 'any')
        runner = player.Runner(client, options.mode if mode == 'any' else mode)
        try:
            runner.setup(case, group)
        except Exception as error:
            print('FAIL %s: setup: %s' % (name, error))
            continue
        for step, got, seconds in play(player, runner, name, case['steps'], options.patience):
            full = name + '/' + step['name']
            if isinstance(got, Exception):
                print('FAIL %s  (%.1f s)\n     %r' % (full, seconds, got))
                continue
            first, second = (differences(player, allow, full, step['response'], got, level) for level in (1, 2))
            passed[0] += not first
            passed[1] += not second
            if second:
                print('%s %s  (%.1f s)' % ('FAIL' if first else 'part', full, seconds))
            for path, wanted, answered in second[:options.differences]:
                print('     %s: want %s got %s' % (path, json.dumps(wanted)[:400], json.dumps(answered)[:400]))
        runner.teardown()
    print('-- %s: %d %d %d %.1f' % (group['group'], passed[0], passed[1], total, time.time() - began))


if __name__ == '__main__':
    main()
