import fs from 'node:fs/promises';
import path from 'node:path';
import { writeRunFile } from '@troupe/checkpoint/node';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { describeRecalled, flagsToStore, readRunFlags, withStored } from '../src/run-flags.js';
import { parseSettings } from '../src/settings.js';
import { scratch } from './running.js';

let folder: string;
beforeEach(async () => {
  folder = await scratch();
});
afterEach(() => fs.rm(folder, { recursive: true, force: true }));

const given = (...argv: string[]) => parseSettings(argv, { TROUPE_ALLREDUCE_TOKEN: 'of-the-services' }).given;
const STORED = given('--keep=10', '--tensorboard', '--organizer=Ann & Co.', '--public', '--eval-every=50');

describe('the flags of a run', () => {
  it('come back from its folder as they were', async () => {
    await writeRunFile(folder, STORED);
    expect(await readRunFlags(folder)).toEqual(STORED);
  });

  it('are none in the folder of an older release', async () => {
    expect(await readRunFlags(folder)).toEqual(new Map());
  });

  it.each([
    ['{', /run\.json cannot be read/],
    ['{"format":2,"flags":{}}', /it is not in format 1/],
    ['{"format":1,"flags":{"--keep":3}}', /--keep is not a text/],
    ['{"format":1,"flags":{"--keep":"many"}}', /--keep many is not a whole number/],
  ])('are refused with a remedy if the file says %s', async (text, message) => {
    await fs.writeFile(path.join(folder, 'run.json'), text);
    await expect(readRunFlags(folder)).rejects.toMatchObject({
      name: 'SettingsError',
      message: expect.stringMatching(message),
      remedy: expect.stringMatching(/./),
    });
  });

  it('hold no secret, no training config, and nothing that concerns one start', () => {
    const all = given('--token=t', '--admin-token=a', '--out=x', '--resume', '--json', '--layers=2', '--keep=4', '--lr=0.1');
    expect(Object.fromEntries(flagsToStore(new Map(), all).afterwards)).toEqual({ '--keep': '4', '--lr': '0.1' });
  });

  it('apply to a resumed run unless others are given', () => {
    const all = withStored(STORED, given('--keep=5', '--no-public', '--resume'));
    expect(Object.fromEntries(all)).toMatchObject({ '--keep': '5', '--tensorboard': 'true', '--eval-every': '50' });
    expect(all.has('--public')).toBe(false);
  });

  it('change for good with those that are given', () => {
    const { afterwards: now } = flagsToStore(STORED, given('--keep=5', '--no-public', '--resume'));
    expect(Object.fromEntries(now)).toEqual({
      '--keep': '5',
      '--tensorboard': 'true',
      '--organizer': 'Ann & Co.',
      '--eval-every': '50',
    });
  });

  it('take a new learning rate only once a checkpoint has it', () => {
    const { untilSaved, afterwards } = flagsToStore(given('--lr=0.01'), given('--lr=0.001', '--keep=5'));
    expect(Object.fromEntries(untilSaved)).toEqual({ '--keep': '5', '--lr': '0.01' });
    expect(Object.fromEntries(afterwards)).toEqual({ '--keep': '5', '--lr': '0.001' });
  });

  it('hold whole paths, and no password', () => {
    const { afterwards } = flagsToStore(
      new Map(),
      given('--tls-cert=lab.pem', '--tls-key=lab.key', '--allreduce=ws://me:secret@host:7071'),
    );
    expect(Object.fromEntries(afterwards)).toEqual({
      '--tls-cert': path.resolve('lab.pem'),
      '--tls-key': path.resolve('lab.key'),
    });
  });

  it('hold the services of the run and its number of reducers, but no list with a password', () => {
    const lasting = (...argv: string[]) => Object.fromEntries(flagsToStore(new Map(), given(...argv)).afterwards);
    expect(lasting('--allreduce=ws://a:1,ws://b:2')).toEqual({ '--allreduce': 'ws://a:1,ws://b:2' });
    expect(lasting('--allreduce=ws://a:1,ws://me:secret@b:2')).toEqual({});
    expect(lasting('--reducers=2')).toEqual({ '--reducers': '2' });
  });

  it('turn off what is gone: a service, a certificate', () => {
    const stored = given('--allreduce=ws://gone:7071', '--tls-cert=a', '--tls-key=b');
    const off = given('--no-allreduce', '--no-tls-cert', '--no-tls-key');
    expect([...withStored(stored, off).keys()].filter((flag) => stored.has(flag))).toEqual([]);
    expect([...flagsToStore(stored, off).afterwards]).toEqual([]);
  });

  it('do not apply the encoding of the text to another text', () => {
    const stored = given('--corpus=/a/old.txt', '--encoding=gb18030');
    expect(withStored(stored, given('--corpus=/a/new.txt')).has('--encoding')).toBe(false);
    expect(withStored(stored, given('--corpus=/a/old.txt')).get('--encoding')).toBe('gb18030');
  });

  it('are named to the person who resumes, and what changes', () => {
    expect(describeRecalled(STORED, given('--keep=5', '--no-public', '--port=80'))).toEqual([
      "The run keeps its flags: --eval-every 50 --organizer 'Ann & Co.' --tensorboard",
      'Changed: --keep 5 (was 10); --port 80 (was 7070); --public is off now',
    ]);
    expect(describeRecalled(new Map(), given('--resume'))).toEqual([]);
    expect(describeRecalled(STORED, STORED)).toEqual([]);
  });
});
