// NestJS, in TypeScript: no line of it is for gyre.
//
//     npx tsc -p examples/nest && npx gyre run examples/nest/dist/main.mjs
//     curl localhost:3000/        curl -d 'any text' localhost:3000/echo
//
// While `curl localhost:3000/slow` keeps one worker busy, another answers its other connections.
import 'reflect-metadata';
import {
  Body,
  Controller,
  Get,
  HttpCode,
  Injectable,
  Module,
  Post,
  Query,
  StreamableFile,
} from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { NestExpressApplication } from '@nestjs/platform-express';

@Injectable()
class Clock {
  /** Stands still for so many ms, as parsing a large text does. */
  burn(ms: number): void {
    const end = Date.now() + ms;
    while (Date.now() < end);
  }
}

@Controller()
class AppController {
  constructor(private readonly clock: Clock) {}

  @Get()
  hello(): string {
    return 'Hello\n';
  }

  @Get('slow')
  slow(@Query('ms') ms = '1000'): string {
    this.clock.burn(Number(ms));
    return 'That was slow\n';
  }

  @Post('echo')
  @HttpCode(200)
  echo(@Body() body: Buffer): StreamableFile {
    return new StreamableFile(body);
  }
}

@Module({ controllers: [AppController], providers: [Clock] })
class AppModule {}

const app = await NestFactory.create<NestExpressApplication>(AppModule, {
  bodyParser: false,
  logger: ['error', 'warn'],
});
app.useBodyParser('raw', { type: () => true, limit: '1mb' });
await app.listen(Number(process.env.PORT ?? 3000));
