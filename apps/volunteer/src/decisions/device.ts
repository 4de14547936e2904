/** What the browser says of the device and its link, and what follows for its traffic. */
import type { Settings } from './settings.js';

export interface Device {
  /** Undefined where the browser says nothing. */
  readonly mobile: boolean | undefined;
  /** It is operated with fingers. */
  readonly coarsePointer: boolean;
  /** The volunteer has asked the browser to save data. */
  readonly saveData: boolean;
  /** Of the link: "cellular", "wifi"; undefined where the browser says nothing. */
  readonly link: string | undefined;
}

/** A phone or a tablet. */
export function isHandheld({ mobile = false, coarsePointer }: Pick<Device, 'mobile' | 'coarsePointer'>): boolean {
  return mobile || coarsePointer;
}

/** Limit of a session's traffic that the volunteer has not chosen, MB. */
export function usualCapMb(device: Device): number {
  const isMetered = device.saveData || device.link === 'cellular';
  return isMetered || isHandheld(device) ? 250 : 2_000;
}

/** @returns the limit of a session's traffic, MB; 0: none */
export function capMbOf({ limitMb }: Pick<Settings, 'limitMb'>, device: Device): number {
  return limitMb ?? usualCapMb(device);
}
