/** A seeded random source. */
export interface Random {
  /** Uniform in [0, 1). */
  next(): number;
  /** Uniform in [least, most). */
  between(least: number, most: number): number;
  /** One of the items. */
  pick<T>(items: readonly T[]): T;
  /** A new source from this one's seed and the name, independent of what was drawn so far. */
  fork(name: string): Random;
}

/** xorshift128, seeded by splitmix32 (Marsaglia 2003; Steele, Lea and Flood 2014). */
export function createRandom(seed: number): Random {
  let mix = seed >>> 0;
  const splitmix = (): number => {
    mix = (mix + 0x9e3779b9) >>> 0;
    let z = mix;
    z = Math.imul(z ^ (z >>> 16), 0x85ebca6b);
    z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35);
    return (z ^ (z >>> 16)) >>> 0;
  };
  let [a, b, c, d] = [splitmix(), splitmix(), splitmix(), splitmix() | 1];
  const random: Random = {
    next() {
      const t = a ^ (a << 11);
      [a, b, c] = [b, c, d];
      d = (d ^ (d >>> 19) ^ t ^ (t >>> 8)) >>> 0;
      return d / 2 ** 32;
    },
    between: (least, most) => least + random.next() * (most - least),
    pick: (items) => items[Math.floor(random.next() * items.length)],
    fork(name) {
      let hash = seed >>> 0;
      for (const character of name) hash = Math.imul(hash ^ character.codePointAt(0)!, 0x01000193) >>> 0;
      return createRandom(hash);
    },
  };
  return random;
}
