/** An image's name as a part of a route: references have slashes. */
export function imageParam(name: string): { name: string } {
  return { name: encodeURIComponent(name) };
}
