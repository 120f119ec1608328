// A job: the Mandelbrot set as a portable graymap of `size` × `size`.
module.exports = (size) => {
  if (!(size >= 1 && size <= 2_000)) throw new RangeError('a size from 1 to 2000');
  const head = new TextEncoder().encode(`P5 ${size} ${size} 255\n`);
  const image = new Uint8Array(head.length + size * size);
  image.set(head);
  for (let i = 0; i < size * size; i++) {
    const x0 = ((i % size) / size) * 3 - 2;
    const y0 = (Math.floor(i / size) / size) * 3 - 1.5;
    let [x, y, turns] = [0, 0, 0];
    while (x * x + y * y < 4 && turns < 255) {
      [x, y] = [x * x - y * y + x0, 2 * x * y + y0];
      turns++;
    }
    image[head.length + i] = turns;
  }
  return image;
};
