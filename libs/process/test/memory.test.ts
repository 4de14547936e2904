import { describe, expect, it } from 'vitest';
import { figuresOf, machineMemory, memoryForThisProcess } from '../src/index.js';

const GIB = 1024 ** 3;
const machine = { total: 64 * GIB, free: 40 * GIB };
const memory = (files: Readonly<Record<string, string>>) => machineMemory((file) => files[file], machine);

describe('the memory for this process', () => {
  it('is that of the machine without control groups', () => {
    expect(memory({})).toEqual({ totalBytes: 64 * GIB, freeBytes: 40 * GIB });
  });

  it('is limited by control groups of version 2, and by those around them', () => {
    const files = {
      '/proc/self/cgroup': '0::/a/b\n',
      '/sys/fs/cgroup/a/b/memory.max': 'max\n',
      '/sys/fs/cgroup/a/b/memory.current': `${GIB}\n`,
      '/sys/fs/cgroup/a/memory.max': `${4 * GIB}\n`,
      '/sys/fs/cgroup/a/memory.current': `${3 * GIB}\n`,
      '/sys/fs/cgroup/a/memory.stat': `anon 5\ninactive_file ${GIB}\n`,
    };
    expect(memory(files)).toEqual({ totalBytes: 4 * GIB, freeBytes: 2 * GIB });
  });

  it('is limited by control groups of version 1, as a container sees its own', () => {
    const files = {
      '/proc/self/cgroup': '9:name=systemd:/docker/x\n8:memory:/docker/x\n',
      '/sys/fs/cgroup/memory/memory.limit_in_bytes': `${2 * GIB}\n`,
      '/sys/fs/cgroup/memory/memory.usage_in_bytes': `${0.5 * GIB}\n`,
    };
    expect(memory(files)).toEqual({ totalBytes: 2 * GIB, freeBytes: 1.5 * GIB });
  });

  it('ignores the huge number by which version 1 says that there is no limit', () => {
    const files = {
      '/proc/self/cgroup': '8:memory:/\n',
      '/sys/fs/cgroup/memory/memory.limit_in_bytes': '9223372036854771712\n',
      '/sys/fs/cgroup/memory/memory.usage_in_bytes': '1\n',
    };
    expect(memory(files)).toEqual({ totalBytes: 64 * GIB, freeBytes: 40 * GIB });
  });

  it.each([
    [1, 5],
    [9, 8],
  ])('that has %d GiB already counts that as free for itself', (own, free) => {
    const machine = { totalBytes: 8 * GIB, freeBytes: 4 * GIB };
    expect(memoryForThisProcess(machine, own * GIB)).toEqual({ totalBytes: 8 * GIB, freeBytes: free * GIB });
  });

  it.each([
    ['darwin', 1, 32],
    ['darwin', 48, 48],
    ['linux', 1, 1],
    ['win32', 1, 1],
  ] as const)('on %s with %d free GiB of 64 counts %d GiB as free', (platform, free, counted) => {
    expect(figuresOf(platform, 64 * GIB, free * GIB)).toEqual({ total: 64 * GIB, free: counted * GIB });
  });
});
