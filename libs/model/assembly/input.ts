// Layer 0 adds a row of a table to its gates, selected by character: table[V, width], whose rows
// initially hold the bias.

/**
 * table[v, gate * padded + j] += weight[gate * hidden + j, v]: the columns of weight_ih [gates *
 * H, V], one-hot input.
 */
export function addInputWeights(
  vocabulary: i32, gates: i32, hidden: i32, padded: i32, weight: usize, table: usize, width: i32,
): void {
  const row: usize = 4 * width;
  for (let gate = 0; gate < gates; gate++) {
    for (let j = 0; j < hidden; j += 8) {
      addColumns(vocabulary, min(8, hidden - j), weight, table + 4 * (gate * padded + j), row);
      weight += 4 * 8 * vocabulary;
    }
    // An incomplete block counts as one.
    weight -= 4 * ((8 - (hidden & 7)) & 7) * vocabulary;
  }
}

/**
 * Copies `count` rows of weight to columns of the table, all for one character at a time, because
 * they share its cache line.
 */
function addColumns(vocabulary: i32, count: i32, weight: usize, to: usize, row: usize): void {
  for (let v = 0; v < vocabulary; v++) {
    let from = weight + 4 * v;
    for (let j = 0; j < count; j++) {
      store<f32>(to + 4 * j, load<f32>(to + 4 * j) + load<f32>(from));
      from += 4 * vocabulary;
    }
    to += row;
  }
}

/**
 * sums[V, width] = for each character, the sum of the rows of gates [rows, width] (`stride` floats
 * apart) with its id.
 */
export function sumByCharacter(
  rows: i32, vocabulary: i32, width: i32, stride: i32, gates: usize, ids: usize, sums: usize,
): void {
  const row: usize = 4 * width;
  memory.fill(sums, 0, row * vocabulary);
  for (let r = 0; r < rows; r++) {
    const to = sums + row * load<u32>(ids);
    for (let j: usize = 0; j < row; j += 32) {
      v128.store(to + j, f32x4.add(v128.load(to + j), v128.load(gates + j)));
      v128.store(to + j, f32x4.add(v128.load(to + j, 16), v128.load(gates + j, 16)), 16);
    }
    gates += 4 * <usize>stride;
    ids += 4;
  }
}

/** gradient[gates * H, V] of weight_ih, one-hot input, from sums[V, gates * padded]. */
export function inputGradient(vocabulary: i32, gates: i32, hidden: i32, padded: i32, sums: usize, gradient: usize): void {
  const row: usize = 4 * gates * padded;
  for (let gate = 0; gate < gates; gate++) {
    for (let j = 0; j < hidden; j++) {
      let from = sums + 4 * (gate * padded + j);
      for (let v = 0; v < vocabulary; v++) {
        store<f32>(gradient, load<f32>(from));
        gradient += 4;
        from += row;
      }
    }
  }
}
