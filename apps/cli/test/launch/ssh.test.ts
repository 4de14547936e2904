import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { explainFault, explainSsh, remoteCommand, sshArguments } from '../../src/launch/ssh.js';
import { decode } from '../../src/launch/wire.js';

const SSH = { program: 'ssh', config: undefined };
const HOST = { where: 'lab.txt, line 2', node: undefined };
const explain = (...lines: string[]) => explainSsh(lines, HOST, 'lab-01', SSH);

describe('the arguments of ssh', () => {
  it('check host keys and ask nothing, before anything that a person gives', () => {
    const args = sshArguments({ program: 'ssh', config: 'lab.config' }, 'lab-01', 'command');
    const [keys, config] = [args.indexOf('StrictHostKeyChecking=yes'), args.indexOf('lab.config')];
    expect(keys).toBeGreaterThan(0);
    expect(config).toBeGreaterThan(keys);
    expect(args).toContain('BatchMode=yes');
    expect(args.slice(-3)).toEqual(['--', 'lab-01', 'command']);
  });
});

describe('the command on a host', () => {
  let folder = '';
  const shells = ['sh', 'bash', 'dash', 'zsh', 'fish', 'csh'].filter((shell) => spawnSync(shell, ['-c', 'true']).status === 0);
  beforeAll(() => {
    folder = mkdtempSync(path.join(os.tmpdir(), 'troupe-find-'));
    for (const [name, version] of [
      ['old', '16.20.0'],
      ['older', '8.1.0'],
    ]) {
      mkdirSync(path.join(folder, name));
      writeFileSync(path.join(folder, name, 'node'), `#!/bin/sh\necho ${version}\n`);
      chmodSync(path.join(folder, name, 'node'), 0o755);
    }
    for (const name of ['none', 'good space', 'home']) mkdirSync(path.join(folder, name));
    symlinkSync(process.execPath, path.join(folder, 'good space/node'));
    mkdirSync(path.join(folder, 'nvm/.nvm/versions/node/v20.20.0/bin'), { recursive: true });
    symlinkSync(process.execPath, path.join(folder, 'nvm/.nvm/versions/node/v20.20.0/bin/node'));
    for (const tool of ['sh', 'uname']) {
      const found = spawnSync('sh', ['-c', `command -v ${tool}`], { encoding: 'utf8' }).stdout.trim();
      for (const name of ['none', 'old', 'older']) symlinkSync(found, path.join(folder, name, tool));
    }
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  /** Runs the command with a module that prints the next line of its input. */
  function find(where: string, { node, home = 'home', shell = 'sh' }: { node?: string; home?: string; shell?: string } = {}) {
    const module = 'process.stdin.once("data", (rest) => console.log("module got " + rest));';
    const program = spawnSync('sh', ['-c', `command -v ${shell}`], { encoding: 'utf8' }).stdout.trim();
    const { stdout, stderr } = spawnSync(program, ['-c', remoteCommand(node)], {
      encoding: 'utf8',
      input: `${Buffer.from(module).toString('base64')}\nthe rest\n`,
      env: {
        PATH: `${path.join(folder, where)}${where === 'good space' ? ':/usr/bin:/bin' : ''}`,
        HOME: path.join(folder, home),
      },
    });
    expect(stderr).toBe('');
    return stdout.trim();
  }

  it.each(shells)('passes through %s and leaves the rest of the input to the module', (shell) => {
    expect(find('good space', { shell })).toBe('module got the rest');
  });

  it('says which Node it found if none is new enough', () => {
    expect(decode(find('old'))).toEqual({
      at: 'failed',
      code: 'old_node',
      detail: expect.stringMatching(/^16\.20\.0 node on \w+ \w+/),
    });
  });

  it('says so if there is none', () => {
    expect(decode(find('none'))).toMatchObject({ at: 'failed', code: 'no_node' });
  });

  it('finds Node where nvm puts it, also beside an old one', () => {
    expect(find('none', { home: 'nvm' })).toBe('module got the rest');
    expect(find('old', { home: 'nvm' })).toBe('module got the rest');
  });

  it('uses only the program that is named', () => {
    expect(find('none', { node: path.join(folder, 'good space/node') })).toBe('module got the rest');
    expect(decode(find('good space', { node: path.join(folder, 'older/node') }))).toMatchObject({ code: 'old_node' });
    expect(decode(find('good space', { node: "it's; missing" }))).toMatchObject({ code: 'no_node' });
  });
});

describe('an error of ssh', () => {
  it.each([
    [
      ['No ED25519 host key is known for lab-01 and you have requested strict checking.', 'Host key verification failed.'],
      'host_key_unknown',
      'ssh lab-01',
    ],
    [['root@lab-01: Permission denied (publickey,password).'], 'no_login', 'ssh-copy-id lab-01'],
    [['root@lab-01: Permission denied (publickey).'], 'no_login', 'ssh lab-01'],
    [['Received disconnect from 10.0.0.1: Too many authentication failures'], 'no_login', 'IdentitiesOnly'],
    [['ssh: Could not resolve hostname lab-01: Name or service not known'], 'unknown_host', 'lab.txt, line 2'],
    [['/home/me/.ssh/config: line 3: Bad configuration option: portt'], 'ssh_settings', 'Correct'],
  ])('%j stays until a person acts', (lines, code, remedy) => {
    const trouble = explain(...lines);
    expect(trouble).toMatchObject({ code, lasting: true });
    expect(trouble.remedy).toContain(remedy);
  });

  it.each([
    ['ssh: connect to host lab-01 port 22: Connection refused', 'refused'],
    ['ssh: connect to host lab-01 port 22: Connection timed out', 'unreachable'],
    ['ssh: connect to host lab-01 port 22: No route to host', 'unreachable'],
    ['Timeout, server lab-01 not responding.', 'unreachable'],
    ['', 'link_lost'],
  ])('"%s" may pass', (line, code) => {
    expect(explain(line)).toMatchObject({ code, lasting: false });
  });

  it('about a changed host key repeats the command of ssh that removes the old one', () => {
    const trouble = explain(
      '@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @',
      '  ssh-keygen -f "/home/me/.ssh/known_hosts" -R "[lab-01]:22"',
      'Host key verification failed.',
    );
    expect(trouble.code).toBe('host_key_changed');
    expect(trouble.remedy).toContain('ssh-keygen -f "/home/me/.ssh/known_hosts" -R "[lab-01]:22"');
  });

  it('names the settings that are in use in what to type', () => {
    const ssh = { program: 'ssh', config: 'my lab.config' };
    expect(explainSsh(['Host key verification failed.'], HOST, 'lab-01', ssh).remedy).toContain("ssh -F 'my lab.config' lab-01");
  });
});

it('a copy that arrived damaged is tried again; other faults of a host are not', () => {
  expect(explainFault('bad_copy', '', HOST).lasting).toBe(false);
  expect(explainFault('old_node', '16.20.0 node', HOST)).toMatchObject({
    lasting: true,
    why: expect.stringContaining('16.20.0'),
  });
  expect(explainFault('disk_full', 'ENOSPC', HOST).remedy).toContain('Free some space');
});

describe('a line from a host', () => {
  it('counts after anything that the shell of the user prints', () => {
    expect(decode('Welcome!troupe:{"at":"beat"}')).toEqual({ at: 'beat' });
  });

  it.each(['Last login: today', '{"at":"beat"}', 'troupe:', 'troupe:{', 'troupe:null', 'troupe:{"by":1}'])(
    '"%s" does not',
    (line) => {
      expect(decode(line)).toBeUndefined();
    },
  );
});
