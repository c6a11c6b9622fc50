// Facts about a book.
import { json, serve } from './serve.ts';

serve('details', (path) => {
  const id = /^\/details\/(\d+)$/.exec(path)?.[1];
  if (id === undefined) return json({ error: 'not found' }, 404);
  return json({
    id: Number(id),
    title: 'The Comedy of Errors',
    author: 'William Shakespeare',
    year: 1594,
    type: 'paperback',
    pages: 120,
    language: 'English',
  });
});
