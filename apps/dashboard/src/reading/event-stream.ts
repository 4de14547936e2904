/** Reads `text/event-stream` in pieces that may be cut anywhere. */
export interface EventStream {
  /** @returns the data of the events that `piece` completed */
  feed(piece: string): string[];
}

export function createEventStream(): EventStream {
  let rest = '';
  return {
    feed(piece) {
      const blocks = (rest + piece).split(/\r?\n\r?\n/);
      rest = blocks.pop() ?? '';
      return blocks.map(dataOf).filter((data) => data !== '');
    },
  };
}

function dataOf(block: string): string {
  const lines = block.split(/\r?\n/).filter((line) => line.startsWith('data:'));
  return lines.map((line) => line.slice('data:'.length).replace(/^ /, '')).join('\n');
}
