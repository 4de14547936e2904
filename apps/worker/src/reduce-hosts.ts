/** Where a coordinator may send this worker to have its gradients summed. */
import { TransportError } from '@troupe/transport';
import { distanceOf, whereIs } from '@troupe/transport/websocket';

export interface ReduceHosts {
  /** The control link is open. @param address its IP address; undefined: a proxy has resolved the name */
  coordinatorIsAt(address: string | undefined): void;
  /**
   * @param url that the coordinator, or its all-reduce service, has named
   * @returns a choice of the IP addresses of its host. @throws TransportError `refused` if there is none
   */
  choose(url: string, addresses: readonly string[]): readonly string[];
}

/**
 * A coordinator may name any host that is not nearer to this machine than itself: one on the internet must not make workers connect to what
 * only their own networks reach.
 * @param allowed hosts in lower case that it may name all the same; "*": any
 */
export function createReduceHosts(allowed: readonly string[]): ReduceHosts {
  const internet = distanceOf('');
  let [own, distance] = ['', internet];
  return {
    coordinatorIsAt(address = '') {
      own = address;
      distance = distanceOf(address);
    },
    choose(url, addresses) {
      const host = new URL(url).hostname.replace(/^\[|\]$/g, '').toLowerCase();
      if (allowed.includes('*') || allowed.includes(host)) return addresses;
      const far = addresses.filter((address) => address === own || distanceOf(address) >= distance);
      if (far.length > 0) return far;
      throw new TransportError(
        'refused',
        `the coordinator sends this worker to ${host}, which is ${whereIs(addresses[0])} and nearer than the coordinator itself`,
        'If you trust the coordinator, start the worker with --allow-reduce-host and that host.',
      );
    },
  };
}
