import { describe, expect, it } from 'vitest';
import { installationAt } from '../src/installation.js';

const kindAt = (url: string) => installationAt(url).kind;
const installAt = (url: string) => installationAt(url).install('webgpu');

describe('installationAt', () => {
  it('takes a copy in node_modules/troupe for the package', () => {
    expect(kindAt('file:///usr/lib/node_modules/troupe/apps/cli/dist/shell.js')).toBe('package');
    expect(kindAt('file:///usr/lib/node_modules/troupe/node_modules/@troupe/native/dist/addon.js')).toBe('package');
  });

  it('takes any other copy for a clone, also in a folder named troupe', () => {
    expect(kindAt('file:///home/a/troupe/apps/cli/dist/shell.js')).toBe('clone');
    expect(kindAt('file:///opt/node_modules/troupe-lab/libs/config/src/installation.ts')).toBe('clone');
  });

  it('starts the command as each is started', () => {
    expect(installationAt('file:///home/a/troupe/x.js').program).toBe('npm run troupe --');
    expect(installationAt('file:///usr/lib/node_modules/troupe/x.js').program).toBe('troupe');
  });

  it.each([
    ['file:///home/a/troupe/apps/cli/dist/x.js', 'npm install --no-save webgpu'],
    ['file:///usr/lib/node_modules/troupe/x.js', 'npm install --global --prefix /usr webgpu'],
    ['file:///lib/node_modules/troupe/x.js', 'npm install --global --prefix / webgpu'],
    ['file:///my%20lab/lib/node_modules/troupe/x.js', "npm install --global --prefix '/my lab' webgpu"],
    ['file:///home/a/texts/node_modules/troupe/x.js', 'npm install --prefix /home/a/texts webgpu'],
    ['file:///C:/npm/node_modules/troupe/x.js', 'npm install --global --prefix C:/npm webgpu'],
  ])('installs packages beside %s', (url, command) => expect(installAt(url)).toBe(command));
});
