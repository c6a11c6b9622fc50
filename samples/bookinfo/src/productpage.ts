// The page a visitor sees: details and reviews put together.
import { fetchJson, html, json, serve } from './serve.ts';

const detailsUrl = process.env['DETAILS_URL'] ?? 'http://details:9080';
const reviewsUrl = process.env['REVIEWS_URL'] ?? 'http://reviews:9080';

interface Review {
  readonly reviewer: string;
  readonly text: string;
  readonly rating?: { readonly stars?: number; readonly color?: string; readonly error?: string };
}

interface Reviews {
  readonly podname: string;
  readonly reviews: readonly Review[];
}

const escape = (text: unknown): string =>
  String(text).replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);

function ratingHtml(r: Review): string {
  if (!r.rating) return '';
  if (r.rating.error !== undefined) return `<i>${escape(r.rating.error)}</i>`;
  const stars = '★'.repeat(r.rating.stars ?? 0);
  return `<span style="color:${r.rating.color === 'red' ? 'red' : 'black'}">${stars}</span>`;
}

function detailsHtml(details: Record<string, unknown> | undefined): string {
  if (!details) return '<p>Sorry, product details are currently unavailable for this book.</p>';
  const rows = Object.entries(details).map(
    ([k, v]) => `<tr><th>${escape(k)}</th><td>${escape(v)}</td></tr>`,
  );
  return `<table>${rows.join('')}</table>`;
}

function reviewsHtml(reviews: Reviews | undefined): string {
  if (!reviews) return '<p>Sorry, product reviews are currently unavailable for this book.</p>';
  const items = reviews.reviews.map(
    (r) =>
      `<blockquote>${escape(r.text)} <cite>${escape(r.reviewer)}</cite> ${ratingHtml(r)}</blockquote>`,
  );
  return `${items.join('\n')}\n<p>Reviews served by: <u>${escape(reviews.podname)}</u></p>`;
}

async function page() {
  const [details, reviews] = await Promise.all([
    fetchJson(`${detailsUrl}/details/0`),
    fetchJson(`${reviewsUrl}/reviews/0`),
  ]);
  return html(`<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>Simple Bookstore App</title></head>
<body>
<h1>The Comedy of Errors</h1>
<h4>Book Details</h4>
${detailsHtml(details as Record<string, unknown> | undefined)}
<h4>Book Reviews</h4>
${reviewsHtml(reviews as Reviews | undefined)}
</body>
</html>
`);
}

serve('productpage', (path) => {
  if (path === '/productpage') return page();
  if (path === '/') return html('<a href="/productpage">Bookstore</a>\n');
  return json({ error: 'not found' }, 404);
});
