import { describe, expect, it } from 'vitest';
import { openFilesIn, placesOfThisProcess, socketPlaces } from '../src/descriptors.js';

const LIMITS = `Limit                     Soft Limit           Hard Limit           Units
Max processes             96000                96000                processes
Max open files            1024                 1048576              files
`;

describe('places for sockets', () => {
  it('follow from the soft limit of the process', () => {
    expect(openFilesIn(LIMITS)).toBe(1024);
    expect(openFilesIn(LIMITS.replace(/1024 /, 'unlimited '))).toBe(Infinity);
    expect(openFilesIn('')).toBeUndefined();
    expect(placesOfThisProcess(50)).toBe(50);
  });

  it('leave what is open already, and a reserve for checkpoints', () => {
    expect(socketPlaces(22_000, 1024, 40)).toBe(1024 - 40 - 64);
    expect(socketPlaces(22_000, Infinity, 40)).toBe(22_000);
    expect(socketPlaces(22_000, 64, 60)).toBe(16);
  });
});
