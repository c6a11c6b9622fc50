// Reviews of a book. v1 shows no stars, v2 black ones, v3 red ones; the stars come from ratings.
import { fetchJson, json, podName, serve, version } from './serve.ts';

const ratings = process.env['RATINGS_URL'] ?? 'http://ratings:9080';
const colour = version === 'v3' ? 'red' : 'black';

async function stars(id: string): Promise<Record<string, number> | undefined> {
  if (version === 'v1') return undefined;
  const answer = await fetchJson(`${ratings}/ratings/${id}`);
  return (answer as { ratings?: Record<string, number> } | undefined)?.ratings;
}

serve('reviews', async (path) => {
  const id = /^\/reviews\/(\d+)$/.exec(path)?.[1];
  if (id === undefined) return json({ error: 'not found' }, 404);
  const given = await stars(id);
  const rating = (who: string): object =>
    version === 'v1'
      ? {}
      : {
          rating: given
            ? { stars: given[who] ?? 0, color: colour }
            : { error: 'Ratings are unavailable' },
        };
  return json({
    id,
    podname: podName,
    clustername: 'null',
    reviews: [
      {
        reviewer: 'Reader 1',
        text: 'Two pairs of twins, one town, no dull page.',
        ...rating('first'),
      },
      { reviewer: 'Reader 2', text: 'Short and quick; best read aloud.', ...rating('second') },
    ],
  });
});
