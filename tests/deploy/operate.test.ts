/** The operation guide: its tables have every code of the source, and its commands do what it says. */
import { execFile } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { EXIT } from '@troupe/process';
import { CONTRIBUTION_REFUSALS, DECLINE_CODES, PROTOCOL_VERSION, selectVersion, STOP_CODES } from '@troupe/protocol';
import { DECISION_KINDS } from '@troupe/run';
import ts from 'typescript';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { appOf, end, named, root, signal, SMALL, start, type Line, type Running } from '../e2e/troupe.js';

const guide = readFileSync(path.join(root, 'docs/operate.md'), 'utf8');

/** The text of a section, without those below it. */
function section(title: string): string {
  const found = new RegExp(`^#+ ${title}\n(.*?)(?=^#|(?![^]))`, 'ms').exec(guide);
  if (!found) throw new Error(`the guide has no section "${title}"`);
  return found[1];
}

/** The codes in the first column of the section's table. */
function rows(title: string): string[] {
  const cells = [...section(title).matchAll(/^\| ([^|]+) \|/gm)].map(([, cell]) => cell.trim());
  return cells.filter((cell) => !/^(Code|Kind|Reason|-+)$/.test(cell)).flatMap(codesIn);
}

/** "`a`, `b`" -> a, b; and a number as it is. */
const codesIn = (cell: string): string[] =>
  /^\d+$/.test(cell) ? [cell] : [...cell.matchAll(/`(\w+)`/g)].map(([, code]) => code);

interface Sources {
  /** Type aliases that are unions of strings: ProtocolErrorCode -> its members. */
  readonly unions: ReadonlyMap<string, readonly string[]>;
  /** Classes of errors: their codes, each with the name of the class. */
  readonly codes: readonly { readonly by: string; readonly code: string }[];
}

function sourceFiles(): ts.SourceFile[] {
  return ['apps', 'libs'].flatMap((group) =>
    readdirSync(path.join(root, group), { recursive: true, encoding: 'utf8' })
      .filter((file) => /^[^/]+\/src\/.*\.ts$/.test(file))
      .map((file) => path.join(root, group, file))
      .filter((file) => /Error|type \w+ =/.test(readFileSync(file, 'utf8')))
      .map((file) => ts.createSourceFile(file, readFileSync(file, 'utf8'), ts.ScriptTarget.ES2022)),
  );
}

function literalsOf(type: ts.TypeNode): string[] {
  if (ts.isUnionTypeNode(type)) return type.types.flatMap(literalsOf);
  return ts.isLiteralTypeNode(type) && ts.isStringLiteral(type.literal) ? [type.literal.text] : [];
}

/** Only the syntax is read: types are not resolved beyond the name of a union. */
function readSources(): Sources {
  const unions = new Map<string, string[]>();
  const classes: { by: string; literals: string[]; union: string | undefined }[] = [];
  const given: { by: string; code: string }[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isTypeAliasDeclaration(node)) unions.set(node.name.text, literalsOf(node.type));
    if (
      ts.isClassDeclaration(node) &&
      node.heritageClauses?.some((clause) => /\b(?:Error|RunReturns)$/.test(clause.types[0].expression.getText(file)))
    )
      for (const member of node.members.filter(ts.isPropertyDeclaration).filter(({ name }) => name.getText(file) === 'code')) {
        const { type, initializer } = member;
        const own = initializer && ts.isStringLiteral(initializer) ? [initializer.text] : [];
        const union = type && ts.isTypeReferenceNode(type) ? type.typeName.getText(file) : undefined;
        classes.push({ by: node.name!.text, literals: [...own, ...(type ? literalsOf(type) : [])], union });
      }
    // The code of a SettingsError is any text. It comes last, and has a default.
    if (ts.isNewExpression(node) && node.expression.getText(file) === 'SettingsError') {
      const code = node.arguments?.[2];
      if (code && ts.isStringLiteral(code)) given.push({ by: 'SettingsError', code: code.text });
    }
    ts.forEachChild(node, visit);
  };
  let file!: ts.SourceFile;
  for (file of sourceFiles()) visit(file);
  const declared = classes.flatMap(({ by, literals, union = '' }) =>
    [...literals, ...(unions.get(union) ?? [])].map((code) => ({ by, code })),
  );
  return { unions, codes: [...declared, ...given, { by: 'SettingsError', code: 'bad_flag' }] };
}

describe('what each message means', () => {
  const { unions, codes } = readSources();
  const strings = (list: readonly (string | number)[]) => list.map(String).sort();

  it.each([
    ['Exit codes', Object.values(EXIT)],
    ['Why a peer is refused', unions.get('ProtocolErrorCode')!],
    ['Decisions of the scheduler', DECISION_KINDS],
    ['Why a result does not count', CONTRIBUTION_REFUSALS],
    ['Why a lease comes back', DECLINE_CODES],
    ['Why a worker is told to stop', STOP_CODES],
  ])('%s: the table has every code, and no others', (title, all) => {
    expect(strings(rows(title))).toEqual(strings(all));
  });

  it('names every reason for which the scheduler waits', () => {
    expect(rows('Why a run makes no progress').sort()).toEqual(strings(unions.get('WaitReason')!));
  });

  it('has every code of an error that a command can end with, and no others', () => {
    // The first two have a table of their own, `troupe launch` shows faults of hosts in words, and the others end a link, an engine or a life of a run, not a command.
    const elsewhere = ['ProtocolError', 'TokenRefused', 'Fault', 'OptimError', 'CollectiveError', 'RunRewound'];
    const known = new Set(codes.filter(({ by }) => !elsewhere.includes(by)).map(({ code }) => code));
    expect(known.size).toBeGreaterThan(50);
    expect([...new Set(rows('Error codes'))].sort()).toEqual([...known, 'internal'].sort());
  });

  it('says in Upgrade what workers of another version are told', () => {
    const remedyFor = (version: number): string => {
      try {
        selectVersion([version]);
      } catch (error) {
        return (error as { remedy: string }).remedy;
      }
      return '';
    };
    for (const version of [PROTOCOL_VERSION - 1, PROTOCOL_VERSION + 1]) expect(section('Upgrade')).toContain(remedyFor(version));
  });
});

/** The commands of the code block after a marker. */
function commands(marker: string): string[] {
  const [, block] = guide.split(`<!-- ${marker} -->\n\n\`\`\`sh\n`);
  return block.slice(0, block.indexOf('\n```')).split('\n');
}

describe('back up and restore', () => {
  let folder = '';
  const running: Running[] = [];
  beforeAll(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'troupe-deploy-'));
  });
  afterAll(async () => {
    await Promise.all(running.map(end));
    await rm(folder, { recursive: true, force: true });
  });

  /** Types lines of the guide in a shell, with other folders than in the guide. */
  const type = (lines: readonly string[], runFolder: string): Promise<unknown> =>
    promisify(execFile)('sh', ['-ec', [...lines].join('\n').replace('runs/001', runFolder).replace('/backup/001', 'backup')], {
      cwd: folder,
    });
  const launch = (args: readonly string[]): Running => {
    const one = start(args, { cwd: folder, env: { TROUPE_TOKEN: 'joins' } });
    running.push(one);
    return one;
  };
  const join = async (coordinator: Running): Promise<Running> => {
    const { address } = await coordinator.line(named('listening'));
    return launch(['worker', String(address), '--engine', 'wasm']);
  };

  it('continues on another disk from a copy that was made in mid-run', async () => {
    const settings = ['--rounds', '100000', '--checkpoint-every', '20', '--keep', '50', '--port', '0', '--json'];
    const first = launch(['coordinator', ...SMALL, ...settings, '--out', 'run']);
    await join(first);
    await first.line((line) => named('checkpoint')(line) && (line.round as number) >= 60);
    await type(commands('backup'), 'run');
    signal(await appOf(first), 'SIGKILL');
    await first.exited;
    await rm(path.join(folder, 'run'), { recursive: true });

    const copied = (await readdir(path.join(folder, 'backup'))).flatMap((file) => /^round-(\d+)/.exec(file)?.[1] ?? []);
    const newest = Math.max(...copied.map(Number));
    expect(newest).toBeGreaterThanOrEqual(60);
    expect(existsSync(path.join(folder, 'backup/run.lock'))).toBe(false);

    const restore = commands('restore');
    await type(restore.slice(0, -1), 'restored');
    expect(restore.at(-1)).toBe('npm run troupe -- coordinator --resume --out "$RUN"');
    const second = launch(['coordinator', '--resume', '--out', 'restored', '--rounds', String(newest + 20), '--json']);
    expect(await second.line(named('started'))).toMatchObject({ round: newest });
    await join(second);
    expect((await second.exited).code).toBe(0);
    const rounds = second.lines.filter(named('round')).map(({ round }: Line) => round as number);
    expect([rounds[0], rounds.at(-1)]).toEqual([newest + 1, newest + 20]);
  }, 120_000);
});
