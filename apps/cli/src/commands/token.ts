/** `troupe token`: signed tokens for workers, volunteers and viewers, and their end. */
import { randomBytes } from 'node:crypto';
import path from 'node:path';
import { InvalidArgumentError, Option, type Command } from 'commander';
import {
  changeAccess,
  createToken,
  MAX_LABEL_LENGTH,
  MAX_LINKS,
  parsePeriod,
  PERIOD_IN_WORDS,
  readAccess,
  revokeTokens,
  rotateKeys,
  SCOPES,
  validityOf,
  type Scope,
  type TokenEntry,
} from '@troupe/access';
import { RUN_OPTIONS } from '@troupe/config';
import { printable } from '@troupe/protocol';
import type { Shell } from '../shell.js';
import { counted, styleFor } from '../terminal/style.js';
import { afterwards, examples, wholeNumber } from './flags.js';

const USUAL_FILE = RUN_OPTIONS.find(({ flag }) => flag === '--access-file')!.default!;
const USUAL_PERIOD = '7d';

interface CommonFlags {
  readonly accessFile?: string;
  readonly json?: true;
}

interface CreateFlags extends CommonFlags {
  readonly scope: Scope;
  /** ms. */
  readonly expires?: number;
  readonly maxLinks?: number;
  readonly label?: string;
}

export function defineToken(program: Command, shell: Shell): void {
  const command = program
    .command('token')
    .summary('make, list and revoke tokens that expire')
    .description(
      'Makes tokens that let their holders join or watch a run. They are signed and expire, can be revoked one by one, and need no ' +
        'restart of the coordinator: it reads the same access file. The token that the coordinator prints stays valid beside them.',
    )
    .addHelpText(
      'after',
      examples(
        [`${shell.program} token create --scope worker --label "room 3"`, 'make a token for the workers of a room'],
        [`${shell.program} token list`, 'show the tokens and when they expire'],
      ) + afterwards(`${shell.program} token create --help`),
    );
  defineCreate(command, shell);
  defineList(command, shell);
  defineRevoke(command, shell);
  defineRotate(command, shell);
}

function subcommand(command: Command, name: string, description: string): Command {
  return command
    .command(name)
    .description(description)
    .addOption(
      new Option(
        '--access-file <FILE>',
        `file with the keys and revocations, the same as for the coordinator (default: ${USUAL_FILE})`,
      ).helpGroup('File:'),
    )
    .addOption(new Option('--json', 'print one JSON object').helpGroup('Output:'));
}

function defineCreate(command: Command, shell: Shell): void {
  subcommand(command, 'create', 'Makes a token and prints it. It is stored nowhere, so it cannot be shown again.')
    .addOption(new Option('--scope <SCOPE>', scopesInWords()).choices(SCOPES).makeOptionMandatory().helpGroup('Token:'))
    .addOption(
      new Option('--expires <PERIOD>', `when it expires: ${PERIOD_IN_WORDS} (default: ${USUAL_PERIOD})`)
        .argParser(period)
        .helpGroup('Token:'),
    )
    .addOption(
      new Option('--max-links <N>', 'workers, or dashboards, that may be connected with it at a time (default: any number)')
        .argParser(wholeNumber(1, MAX_LINKS))
        .helpGroup('Token:'),
    )
    .addOption(new Option('--label <NAME>', 'what it is for, shown in the list').argParser(label).helpGroup('Token:'))
    .addHelpText(
      'after',
      examples(
        [`${shell.program} token create --scope worker --expires 12h`, 'let workers join until tonight'],
        [`${shell.program} token create --scope volunteer --max-links 30 --label "class 7b"`, 'let 30 browsers join'],
        [`${shell.program} token create --scope viewer --expires 4w --json`, 'let somebody watch; print JSON for a script'],
      ) + afterwards(`TROUPE_TOKEN=TOKEN ${shell.program} worker ws://HOST:7070`, `${shell.program} token revoke ID`),
    )
    .action((flags: CreateFlags) => create(shell, flags));
}

function scopesInWords(): string {
  return 'worker: compute, from Node or a browser; volunteer: compute on the page for volunteers; viewer: watch, without control; admin: everything';
}

function defineList(command: Command, shell: Shell): void {
  subcommand(
    command,
    'list',
    'Lists the tokens, without the tokens themselves. Those that expired more than 30 days ago are left out.',
  )
    .addHelpText(
      'after',
      examples([`${shell.program} token list --json`, 'print the list as JSON']) + afterwards(`${shell.program} token revoke ID`),
    )
    .action((flags: CommonFlags) => list(shell, flags));
}

function defineRevoke(command: Command, shell: Shell): void {
  subcommand(command, 'revoke', 'Revokes tokens. Within seconds the coordinator closes every link that was opened with them.')
    .argument('<id...>', 'ids from troupe token list')
    .addHelpText(
      'after',
      examples([`${shell.program} token revoke 3f9c2a71b0`, 'end the links that this token opened, and let it open no more']) +
        afterwards(`${shell.program} token create --scope SCOPE`),
    )
    .action((ids: readonly string[], flags: CommonFlags) => revoke(shell, ids, flags));
}

function defineRotate(command: Command, shell: Shell): void {
  subcommand(
    command,
    'rotate',
    'Makes a new key, which signs tokens from now on. Tokens that earlier keys have signed stay valid until they expire.',
  )
    .addOption(new Option('--revoke-old', 'revoke all tokens that earlier keys have signed').helpGroup('Key:'))
    .addHelpText(
      'after',
      examples(
        [`${shell.program} token rotate`, 'change the key from time to time'],
        [`${shell.program} token rotate --revoke-old`, 'after somebody else has read the access file'],
      ) + afterwards(`${shell.program} token create --scope SCOPE`),
    )
    .action((flags: CommonFlags & { revokeOld?: true }) => rotate(shell, flags));
}

function period(text: string): number {
  const ms = parsePeriod(text);
  if (ms === undefined) throw new InvalidArgumentError(`It should be ${PERIOD_IN_WORDS}.`);
  return ms;
}

function label(text: string): string {
  if (text.length <= MAX_LABEL_LENGTH && printable(text) === text) return text;
  throw new InvalidArgumentError(`It should be a text of at most ${MAX_LABEL_LENGTH} characters, on one line.`);
}

const chance = () => ({ nowMs: Date.now(), random: randomBytes });

async function create(shell: Shell, { scope, maxLinks, json, ...flags }: CreateFlags): Promise<void> {
  const { label = '', expires = parsePeriod(USUAL_PERIOD)!, accessFile = USUAL_FILE } = flags;
  const request = { scope, label, lifetimeMs: expires, maxLinks };
  const { token, entry } = await changeAccess(accessFile, (before) => createToken(before, request, chance()));
  const file = path.resolve(accessFile);
  if (json) {
    const { id, expiresAt } = viewOf(entry);
    shell.stdout.write(`${JSON.stringify({ id, scope, label, expiresAt, maxLinks, token, accessFile: file })}\n`);
    return;
  }
  // The token alone is on standard output, so that a script can read it.
  shell.stdout.write(`${token}\n`);
  const most = maxLinks === undefined ? '' : `, ${counted(maxLinks, 'link')} at a time`;
  shell.stderr.write(
    `Token ${entry.id}: ${scope}${most}, valid until ${localTime(entry.expiresAtMs)}. It is not shown again.\n` +
      `Coordinators with the access file ${file} accept it.\n${usageOf(scope, shell.program)}\n`,
  );
}

function usageOf(scope: Scope, program: string): string {
  switch (scope) {
    case 'worker':
      return `On another machine: TROUPE_TOKEN=TOKEN ${program} worker ws://HOST:7070`;
    case 'volunteer':
      return 'Link for volunteers: http://HOST:7070/join/#token=TOKEN';
    case 'viewer':
      return 'Link of the dashboard: http://HOST:7070/#token=TOKEN';
    case 'admin':
      return 'Link of the dashboard: http://HOST:7070/#admin=TOKEN';
    default:
      return scope satisfies never;
  }
}

async function list(shell: Shell, { accessFile = USUAL_FILE, json }: CommonFlags): Promise<void> {
  const { tokens } = await readAccess(accessFile);
  const file = path.resolve(accessFile);
  const views = tokens.map(viewOf);
  if (json) {
    shell.stdout.write(`${JSON.stringify({ accessFile: file, tokens: views })}\n`);
    return;
  }
  if (views.length === 0) {
    shell.stdout.write(`There are no tokens in ${file}.\n`);
    return;
  }
  const rows = tokens.map((entry) => [
    ...[entry.id, entry.scope, viewOf(entry).state, localTime(entry.expiresAtMs)],
    ...[String(entry.maxLinks ?? 'any'), printable(entry.label)],
  ]);
  const style = styleFor(shell.stdout, shell.env);
  const [head, ...body] = aligned([['ID', 'SCOPE', 'STATE', 'EXPIRES', 'LINKS', 'LABEL'], ...rows]);
  shell.stdout.write(`${style('dim', head)}\n${body.join('\n')}\n`);
}

function viewOf(entry: TokenEntry) {
  const { id, scope, label, createdAtMs, expiresAtMs, maxLinks, revokedAtMs } = entry;
  const moment = (ms: number): string => new Date(ms).toISOString();
  return {
    ...{ id, scope, label, state: validityOf(entry, Date.now()) },
    ...{ createdAt: moment(createdAtMs), expiresAt: moment(expiresAtMs), maxLinks },
    ...(revokedAtMs === undefined ? {} : { revokedAt: moment(revokedAtMs) }),
  };
}

async function revoke(shell: Shell, ids: readonly string[], { accessFile = USUAL_FILE, json }: CommonFlags): Promise<void> {
  await changeAccess(accessFile, (before) => ({ state: revokeTokens(before, ids, Date.now()) }));
  if (json) shell.stdout.write(`${JSON.stringify({ revoked: ids })}\n`);
  else
    shell.stdout.write(
      `Revoked ${ids.join(', ')}. Running coordinators close the links of ${ids.length === 1 ? 'it' : 'them'} within seconds.\n`,
    );
}

async function rotate(
  shell: Shell,
  { accessFile = USUAL_FILE, json, revokeOld = false }: CommonFlags & { revokeOld?: boolean },
): Promise<void> {
  const { state } = await changeAccess(accessFile, (before) => ({ state: rotateKeys(before, revokeOld, chance()) }));
  const keyId = state.keys.find((key) => key.state === 'signing')!.id;
  if (json) shell.stdout.write(`${JSON.stringify({ keyId, revokedOld: revokeOld })}\n`);
  else
    shell.stdout.write(
      `Key ${keyId} signs from now on. ${revokeOld ? 'All earlier tokens are revoked.' : 'Earlier tokens stay valid until they expire.'}\n`,
    );
}

/** 2026-02-10 18:00, by the clock of this machine. */
function localTime(ms: number): string {
  const date = new Date(ms);
  const two = (value: number): string => String(value).padStart(2, '0');
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}`;
}

/** Rows of text as lines with columns of equal width. */
function aligned(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  return rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column]))
      .join('  ')
      .trimEnd(),
  );
}
