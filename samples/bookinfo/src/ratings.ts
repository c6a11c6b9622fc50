// Stars for reviews.
import { json, serve } from './serve.ts';

serve('ratings', (path) => {
  const id = /^\/ratings\/(\d+)$/.exec(path)?.[1];
  if (id === undefined) return json({ error: 'not found' }, 404);
  return json({ id: Number(id), ratings: { first: 5, second: 4 } });
});
