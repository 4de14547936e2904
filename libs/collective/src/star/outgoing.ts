/** A contribution on its way: its gradient leaves range by range, as far as it is final. */
import { openTransfer, type OpenTransfer } from '@troupe/protocol';
import { bytesOf, inChunk, type Segment, type SegmentChunk } from '../codec.js';
import type { SegmentRange } from '../ranges.js';
import type { CodedLease, ContributionWriter } from '../contribution.js';

/** A range as it is sent. */
export interface OutgoingRange extends SegmentRange {
  readonly segments: readonly Segment[];
  /** Of the segments, in order. */
  readonly chunks: readonly SegmentChunk[];
}

export interface OutgoingOptions {
  readonly lease: CodedLease & { readonly leaseId: string };
  readonly ranges: readonly OutgoingRange[];
  readonly writer: ContributionWriter;
  /** Sends a frame of a range, towards its reducer or to the service. */
  send(range: number, frame: Uint8Array): void;
}

/** Codes the gradient from its last segment to its first. */
export class OutgoingGradient {
  readonly #options: OutgoingOptions;
  /** The range whose turn it is; the last one comes first. */
  #range: number;
  #chunk = 0;
  #transfer: OpenTransfer | undefined;

  constructor(options: OutgoingOptions) {
    this.#options = options;
    this.#range = options.ranges.length - 1;
  }

  /** Whether a part has left. */
  get begun(): boolean {
    return this.#transfer !== undefined || this.#range < this.#options.ranges.length - 1;
  }

  /** Sends what is final and has not been sent: `gradient` [P] from `from` on. */
  add(gradient: Float32Array, from: number): void {
    const { lease, writer } = this.#options;
    this.#advance(from, (segment, bytes) => writer.encode(gradient, lease, segment, bytes));
  }

  /** Sends zeros for the rest: a transfer that has begun must end. */
  fill(): void {
    if (this.begun) this.#advance(0, () => undefined);
  }

  #advance(from: number, write: (segment: Segment, bytes: Uint8Array) => void): void {
    for (; this.#range >= 0; [this.#range, this.#chunk, this.#transfer] = [this.#range - 1, 0, undefined]) {
      const { chunks } = this.#options.ranges[this.#range];
      if (chunks.length === 0) this.#open();
      for (; this.#chunk < chunks.length; this.#chunk++) {
        const chunk = chunks[this.#chunk];
        if (chunk.segments.at(-1)!.from < from) return;
        const { frame, payload } = this.#open().chunk(chunk.bytes);
        for (const { segment, bytes } of inChunk(chunk, payload)) write(segment, bytes);
        this.#options.send(this.#range, frame);
      }
    }
  }

  #open(): OpenTransfer {
    if (this.#transfer) return this.#transfer;
    const { lease, ranges, send } = this.#options;
    const { round, leaseId } = lease;
    const index = this.#range;
    const { from, to, segments } = ranges[index];
    this.#transfer = openTransfer({ type: 'gradientRange', round, leaseId, from, to }, bytesOf(segments));
    send(index, this.#transfer.head);
    return this.#transfer;
  }
}
